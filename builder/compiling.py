"""Compiles Python sources to bytecode: `python compiling.py FOLDER PREFIX`, the sources' paths on standard input.

Bytecode depends a little on what its process did before: which texts it shares with others decides how they are
written. So the sources of one folder, which stand together, are compiled in a fresh copy (fork) of a process that has
done nothing yet, and come out the same whatever else is compiled, and by how many processes. This is a program of its
own, and imports nothing that it does not need.
"""

from __future__ import annotations

import gc
import os
import py_compile
import sys
import warnings
from contextlib import suppress
from itertools import groupby


def compile_one(folder: str, prefix: str, name: str) -> None:
    """Compile a source, valid by the unchecked hash of its source; one that does not compile has no bytecode."""
    warnings.simplefilter("ignore")
    with suppress(py_compile.PyCompileError, UnicodeDecodeError, RecursionError):
        py_compile.compile(
            f"{folder}/{name}",
            dfile=f"{prefix}/{name}",
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def main(folder: str, prefix: str) -> int:
    """Compile what standard input names; the exit status."""
    gc.disable()
    for _, names in groupby(sys.stdin.read().splitlines(), os.path.dirname):
        child = os.fork()
        if child == 0:
            try:
                for name in names:
                    compile_one(folder, prefix, name)
                os._exit(0)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        if os.waitpid(child, 0)[1] != 0:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
