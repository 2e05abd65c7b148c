"""Affixes shared by most labels of a column (`drug_`, `Lung-`, `_24h`), which are not part of the names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

COMMON_SHARE = 0.6
"""least share of a column's labels with the same first or last part for it to be an affix"""
LEAST_LABELS = 5


def column_affixes(labels: Iterable[str]) -> tuple[str, str]:
    """First and last part, with separator, shared by at least 60% of five or more labels; empty if there is none."""
    listed = sorted(set(labels))
    if len(listed) < LEAST_LABELS:
        return "", ""
    first = Counter(match[0] for label in listed if (match := re.match(r"[^\s_:.|-]+[\s_:.|-]+(?=\S)", label)))
    last = Counter(match[0] for label in listed if (match := re.search(r"(?<=\S)[\s_:|-]+[^\s_:|-]+$", label)))
    common = [next(iter(counts.most_common(1)), ("", 0)) for counts in (first, last)]
    prefix, suffix = (affix if n >= COMMON_SHARE * len(listed) else "" for affix, n in common)
    return prefix, suffix


def without_affixes(label: str, affixes: tuple[str, str]) -> str:
    """The label without the affixes of its column."""
    prefix, suffix = affixes
    return label.removeprefix(prefix).removesuffix(suffix) if prefix or suffix else label
