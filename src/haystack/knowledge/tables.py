"""Read tracked tables: TSV with a header, `#` comments, `;` between the items of a cell."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from haystack.contracts.query import Direction
from haystack.errors import HaystackError


class KnowledgeError(HaystackError):
    """A knowledge table, gene set file or answer of a public database cannot be used."""


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of a table as dictionaries, cells stripped.

    Raises
    ------
    KnowledgeError
        when the file is missing, or a line has too few or too many cells, or a column is missing.
    """
    try:
        handle = path.open(encoding="utf-8", newline="")
    except FileNotFoundError:
        raise KnowledgeError(f"{path}: no such file") from None
    with handle:
        lines = [(number, line) for number, line in enumerate(handle, 1) if line.strip() and not line.startswith("#")]
    cells = csv.reader((line for _, line in lines), delimiter="\t", quoting=csv.QUOTE_NONE)
    header = next(cells, None)
    if header is None:
        raise KnowledgeError(f"{path}: empty; expected the columns {', '.join(columns)}")
    missing = [name for name in columns if name not in header]
    if missing:
        raise KnowledgeError(f"{path}: lacks the columns {', '.join(missing)}; found {', '.join(header)}")
    for (number, _), row in zip(lines[1:], cells, strict=True):
        if len(row) != len(header):
            raise KnowledgeError(f"{path}, line {number}: {len(row)} cells, expected {len(header)} (tab between cells)")
        yield {name: value.strip() for name, value in zip(header, row, strict=True)}


def items(cell: str) -> list[str]:
    """The items of a cell, in order, without repeats."""
    return list(dict.fromkeys(part.strip() for part in cell.split(";") if part.strip()))


def signed(up: str, down: str) -> dict[str, Direction]:
    """Items of the up cell with +1, then those of the down cell with -1."""
    directions: dict[str, Direction] = {}
    directions.update(dict.fromkeys(items(up), 1))
    directions.update(dict.fromkeys(items(down), -1))
    return directions
