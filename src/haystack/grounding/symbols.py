"""Map previous gene symbols (IL8) to current ones (CXCL8), so that files can be compared."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache

import numpy as np


class Columns:
    """Where genes stand in a list; of repeated ones the last."""

    def __init__(self, genes: Iterable[str]) -> None:
        self._column = {gene: index for index, gene in enumerate(genes)}

    def of(self, genes: Iterable[str]) -> np.ndarray:
        """Column of each gene, (n,); -1 for a gene that is not in the list."""
        return np.array([self._column.get(gene, -1) for gene in genes], dtype=int)


def current(gene: str) -> str:
    """The current symbol in upper case; a name that is not known stays as it is.

    >>> current("il8"), current("C1ORF54"), current("MADEUP1")
    ('CXCL8', 'C1ORF54', 'MADEUP1')
    """
    name = gene.strip().upper()
    return _earlier().get(name, name)


def current_names(genes: Iterable[str]) -> list[str]:
    """Current symbols of the genes of one file, in order, without creating duplicates.

    A gene keeps its previous symbol if another gene of the file already has the current one.
    """
    return list(_current_names(tuple(map(str, genes))))


@lru_cache(8)
def _current_names(genes: tuple[str, ...]) -> list[str]:
    given = [gene.strip().upper() for gene in genes]
    earlier = _earlier()
    if earlier.keys().isdisjoint(given):
        return given
    taken, names = set(given), []
    for gene in given:
        name = earlier.get(gene, gene)
        if name != gene:
            name = gene if name in taken else name
            taken.add(name)
        names.append(name)
    return names


@cache
def _earlier() -> dict[str, str]:
    """Previous symbol -> current symbol, both in upper case."""
    from haystack.knowledge.genetic import symbols
    from haystack.knowledge.retired import retired_symbols

    return {**retired_symbols(), **{old: new.upper() for old, new in symbols().items() if new.upper() != old}}
