"""Programs for layers and functions: a custom runtime and an extension, in shell, and how to pack them."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

BOOTSTRAP = """#!/bin/sh
echo "starting $_HANDLER" >&2
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
while true; do
  headers=$(mktemp)
  event=$(curl -sS -D "$headers" "$api/invocation/next")
  id=$(grep -i lambda-runtime-aws-request-id "$headers" | tr -d '\\r' | cut -d' ' -f2)
  arn=$(grep -i lambda-runtime-invoked-function-arn "$headers" | tr -d '\\r' | cut -d' ' -f2)
  echo "got $event"
  case "$event" in
    *die*) exit 3 ;;
    *fail*) curl -sS -X POST -d '{"errorType":"Own","errorMessage":"as asked"}' "$api/invocation/$id/error" ;;
    *) curl -sS -X POST -d "{\\"event\\":$event,\\"arn\\":\\"$arn\\"}" "$api/invocation/$id/response" ;;
  esac
done
"""
"""A custom runtime: answers with its event; `fail` in it is an error of its own, `die` ends it."""

WATCHER = """#!/bin/sh
api="http://$AWS_LAMBDA_RUNTIME_API/2020-01-01/extension"
id=$(curl -sS -D - -o /dev/null -X POST -H "Lambda-Extension-Name: watcher" -d '{"events":["INVOKE","SHUTDOWN"]}' \\
  "$api/register" | tr -d '\\r' | grep -i lambda-extension-identifier | cut -d' ' -f2)
echo "watcher: registered for $AWS_LAMBDA_FUNCTION_NAME"
while true; do
  event=$(curl -sS -H "Lambda-Extension-Identifier: $id" "$api/event/next")
  echo "watcher: $event"
  case "$event" in *SHUTDOWN*) exit 0 ;; esac
done
"""
"""An extension: registers, and prints every event that it gets."""


def packed_programs(files: dict[str, str | bytes], *executable: str) -> bytes:
    """A zip in which these files can be executed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | (0o755 if name in executable else 0o644)) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def a_library(pattern: str) -> Path | None:
    """A shared library of this machine."""
    folders = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
    return next((file for folder in folders for file in sorted(Path(folder).rglob(pattern)) if file.is_file()), None)
