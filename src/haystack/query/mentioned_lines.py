"""Find cell lines in a question."""

from __future__ import annotations

import re

from haystack.ontology.lines import CellLine, cell_line
from haystack.query.text import Span, span

_TOKEN = re.compile(r"[A-Za-z0-9α-ω]+(?:[-./;()][A-Za-z0-9α-ω]+)*")
_CELLS_BEHIND = re.compile(r"^\s+(?:\w+\s+)?(?:cells?|lines?|cultures?|spheroids?)\b", re.IGNORECASE)
LONGEST = 3  # words of a line's name


def find_lines(text: str, taken: list[Span], *, short: bool = False) -> list[tuple[Span, CellLine]]:
    """Tracked lines in order of appearance; names of up to three characters (H1, BJ, 293) only before `cells` or
    `line`.

    `short`: those with a letter and a number count anywhere, because no other cells are named.
    """
    tokens = list(_TOKEN.finditer(text))
    lines: list[tuple[Span, CellLine]] = []
    for first in range(len(tokens)):
        for size in range(min(LONGEST, len(tokens) - first), 0, -1):
            where = span(text, tokens[first].start(), tokens[first + size - 1].end())
            line = cell_line(where.text)
            if line is None or any(where.overlaps(other) for other in [*taken, *(place for place, _ in lines)]):
                continue
            plain = len(re.sub(r"\W", "", where.text)) <= 3 or where.text.isdigit()
            alone = short and re.search(r"[A-Z].*\d", where.text)
            if plain and not alone and not _CELLS_BEHIND.match(text[where.end :]):
                continue
            lines.append((where, line))
            break
    return lines
