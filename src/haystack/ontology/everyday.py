"""Everyday English words, which name nothing by themselves and are never corrected to a name."""

from __future__ import annotations

import gzip
from functools import cache

from haystack.ontology.index import resources

FILE = "everyday.txt.gz"
MORE = "english.txt.gz"


@cache
def everyday_words() -> frozenset[str]:
    """Lower-case words from the documentation of several unrelated software packages."""
    return _words(FILE)


@cache
def english_words() -> frozenset[str]:
    """Further correctly spelt English words that are too rare to be uninformative."""
    return _words(MORE)


def _words(name: str) -> frozenset[str]:
    return frozenset(gzip.decompress((resources() / name).read_bytes()).decode().split())
