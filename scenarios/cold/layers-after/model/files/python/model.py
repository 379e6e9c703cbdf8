"""Loads a model when it is imported, in about 600 ms."""

import time

time.sleep(0.6)


def score(values):
    return sum(values) / len(values)
