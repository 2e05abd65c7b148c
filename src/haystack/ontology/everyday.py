"""Everyday English words: they name nothing by themselves, and are never taken for a misspelt name."""

from __future__ import annotations

import gzip
from functools import cache

from haystack.ontology.index import resources

FILE = "everyday.txt.gz"
MORE = "english.txt.gz"


@cache
def everyday_words() -> frozenset[str]:
    """Lower-case words that occur in the documentation of several unrelated software packages."""
    return _words(FILE)


@cache
def english_words() -> frozenset[str]:
    """Further English words: correctly spelt, but too rare to say nothing."""
    return _words(MORE)


def _words(name: str) -> frozenset[str]:
    return frozenset(gzip.decompress((resources() / name).read_bytes()).decode().split())
