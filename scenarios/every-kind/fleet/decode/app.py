"""Guesses how a text was encoded, with the layer's own module and the package that it needs."""
import phrases


def handler(event, context):
    return {"encoding": phrases.encoding_of(event["text"].encode("latin-1"))}
