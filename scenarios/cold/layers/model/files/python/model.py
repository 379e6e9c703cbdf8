"""Loads a model when it is imported, in about 200 ms."""

import time

time.sleep(0.2)


def score(values):
    return sum(values) / len(values)
