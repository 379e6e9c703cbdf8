# A function written in shell; the layer is its runtime.
handler() {
  name=$(printf '%s' "$1" | sed -n 's/.*"name": *"\([^"]*\)".*/\1/p')
  [ -n "$name" ] || { echo "the event has no name" >&2; return 1; }
  printf '{"greeting": "Hello, %s"}' "$name"
}
