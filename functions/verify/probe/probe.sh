#!/bin/sh
# The probe for runtimes without a language: a bootstrap that says whether the layer's programs and libraries can load.
#
# It asks the dynamic linker for everything in /opt/bin and /opt/lib, and runs smoke.sh, if that is beside it, with an
# empty event on its standard input. Needs what Amazon Linux has without any package: sh, curl and the core utilities.

api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
linker=/lib64/ld-linux-x86-64.so.2
[ -x "$linker" ] || linker=/lib/ld-linux-aarch64.so.1

# A text as it stands between the quotes of a JSON string.
quoted() {
  case $1 in
    *[!A-Za-z0-9._/+@,:=\ -]*) ;;
    *)
      printf '%s' "$1"
      return
      ;;
  esac
  text=$(printf '%s' "$1" | tr '\n\r\t' '   ' | tr -d '\000-\037' | head -c 1000)
  out=
  while [ -n "$text" ]; do
    rest=${text#?}
    first=${text%"$rest"}
    case $first in '"' | '\') out="$out\\$first" ;; *) out="$out$first" ;; esac
    text=$rest
  done
  printf '%s' "$out"
}

look() {
  for file in "$1"/*; do
    if [ -L "$file" ]; then
      continue
    elif [ -d "$file" ]; then
      look "$file"
    elif [ -f "$file" ]; then
      modules=$((modules + 1))
      names="$names${names:+,}\"$(quoted "${file#/opt/}")\""
      # The shell cannot hold every byte, but the four that begin an ELF file it can.
      [ "$(head -c 4 "$file" | tr -d '\0')" = "$(printf '\177ELF')" ] || continue
      # The linker lists what it finds and what not, and runs nothing.
      missing=$(LD_TRACE_LOADED_OBJECTS=1 "$linker" "$file" 2>&1 | grep 'not found')
      if [ -n "$missing" ]; then
        failed=$((failed + 1))
        failures="$failures${failures:+,}{\"module\":\"$(quoted "${file#/opt/}")\",\"type\":\"LibraryMissing\",\"message\":\"$(quoted "$missing")\"}"
      fi
    fi
  done
}

answer() {
  modules=0 failed=0 names= failures= smoke=null
  look /opt/bin
  look /opt/lib
  if [ -f "$LAMBDA_TASK_ROOT/smoke.sh" ]; then
    smoke='{"module":"smoke.sh"}'
    said=$(echo '{}' | sh "$LAMBDA_TASK_ROOT/smoke.sh" 2>&1 >/dev/null) ||
      smoke="{\"module\":\"smoke.sh\",\"type\":\"Status$?\",\"message\":\"$(quoted "$said")\"}"
  fi
  printf '{"version":"","modules":%s,"imported":%s,"failed":%s,"names":[%s],"failures":[%s],"smoke":%s}' \
    "$modules" "$((modules - failed))" "$failed" "$names" "$failures" "$smoke"
}

headers=$(mktemp)
while curl -sS -o /dev/null -D "$headers" "$api/invocation/next"; do
  id=$(grep -i '^lambda-runtime-aws-request-id:' "$headers" | tr -d '\r ' | cut -d: -f2)
  answer | curl -sS -o /dev/null -X POST -H 'Content-Type: application/json' --data-binary @- "$api/invocation/$id/response"
done
