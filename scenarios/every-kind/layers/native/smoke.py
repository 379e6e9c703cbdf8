"""What the probe runs: Lambda has /opt/lib on the loader's path, and /opt/bin on the PATH."""
import ctypes
import subprocess


def handler(event, context):
    library = ctypes.CDLL("libadler32.so")
    library.adler32.restype = ctypes.c_uint32
    assert library.adler32(b"Wikipedia", ctypes.c_ulong(9)) == 0x11E60398
    assert subprocess.run(["adler32"], input=b"Wikipedia", stdout=subprocess.PIPE, check=True).stdout == b"11e60398\n"
