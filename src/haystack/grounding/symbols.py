"""Map previous gene symbols (IL8) to current ones (CXCL8), so that files can be compared."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache


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
    given = [str(gene).strip().upper() for gene in genes]
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
