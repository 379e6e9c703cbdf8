"""Sums up a text in three ways, by the layer's library, by its program and by Python, which must agree."""
import ctypes
import subprocess
import zlib

adler32 = ctypes.CDLL("libadler32.so").adler32
adler32.restype = ctypes.c_uint32
adler32.argtypes = [ctypes.c_char_p, ctypes.c_ulong]


def handler(event, context):
    text = event["text"].encode()
    program = subprocess.run(["adler32"], input=text, stdout=subprocess.PIPE, check=True)
    sums = {adler32(text, len(text)), int(program.stdout, 16), zlib.adler32(text)}
    if len(sums) != 1:
        raise ArithmeticError(f"three sums of one text: {sums}")
    return {"adler32": f"{sums.pop():08x}"}
