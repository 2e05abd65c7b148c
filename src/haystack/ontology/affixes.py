"""What most labels of a column begin or end with (`drug_`, `Lung-`, `_24h`): part of the column, not of the names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

COMMON_SHARE = 0.6
"""share of a column's labels from which a first or last part is an affix"""
LEAST_LABELS = 5


def column_affixes(labels: Iterable[str]) -> tuple[str, str]:
    """First and last part, with its separator, that at least 60% of five or more labels share; empty where none is."""
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
