#!/bin/sh
# Compiles the layer's library and program, for x86_64. What came of it is kept in files/, so that nobody needs a compiler
# to replay the scenario: Debian's gcc made it. The same compiler makes the same bytes.
set -eu
cd "$(dirname "$0")"
small="-Os -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -s
  -Wl,--build-id=none -Wl,--hash-style=gnu -Wl,-z,noseparate-code -Wl,-z,max-page-size=4096"
# shellcheck disable=SC2086
cc $small -shared -fPIC -nostdlib -Wl,-soname,libadler32.so -o ../files/lib/libadler32.so libadler32.c
# shellcheck disable=SC2086
cc $small -nostartfiles -o ../files/bin/adler32 adler32.c -L../files/lib -ladler32 -lc
