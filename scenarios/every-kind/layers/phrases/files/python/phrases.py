"""The team's own module: it is in the layer beside the packages that it uses."""

from charset_normalizer import from_bytes


def encoding_of(text):
    best = from_bytes(text).best()
    return best.encoding if best else "unknown"
