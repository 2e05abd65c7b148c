"""Everyday English words: they name nothing by themselves, and are never taken for a misspelt name."""

from __future__ import annotations

import gzip
from functools import cache

from haystack.ontology.index import resources

FILE = "everyday.txt.gz"


@cache
def everyday_words() -> frozenset[str]:
    """Lower-case words that occur in the documentation of several unrelated software packages."""
    text = gzip.decompress((resources() / FILE).read_bytes()).decode()
    return frozenset(text.split())
