"""Map labels of an atlas to ontology terms, in a table whose manual corrections are kept."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from haystack.errors import OntologyError
from haystack.files import write_text
from haystack.ontology.affixes import column_affixes
from haystack.ontology.celllabels import is_known
from haystack.ontology.graph import term
from haystack.ontology.lines import line_of_label
from haystack.ontology.match import Match
from haystack.ontology.resolver import resolve

COLUMNS = ("kind", "label", "id", "name", "score", "method", "n_cells")
BY_HAND = "correction"
UNSURE = 0.7
"""probability below which the name alone does not decide"""
Decide = Callable[[Mapping[str, Sequence[Match]]], Mapping[str, Match]]
"""uncertain labels with their matches, best first -> terms of those that could be decided"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One row of a mapping table; an empty id means: this label has no term."""

    kind: str
    label: str
    id: str
    name: str
    score: str
    method: str
    n_cells: str


def map_labels(
    labels: dict[str, int],
    kind: str,
    corrections: Path | None,
    out_mapping: Path,
    tissues: Mapping[str, str] | None = None,
    decide: Decide | None = None,
) -> dict[str, Match | None]:
    """Resolve every label and write the mapping table.

    Parameters
    ----------
    labels
        label -> number of cells that carry it.
    kind
        cell-type, tissue or disease.
    corrections
        a table with at least kind, label, id, written by a person; its rows win over the resolver. An empty id says
        that the label has no term.
    out_mapping
        TSV with kind, label, id, name, score, method, n_cells; labels with most cells first, unmapped ones with an
        empty id. Rows of other kinds that the file already holds are kept, and so are rows of this kind that a
        person edited there (method `correction`, or an id that no longer belongs to its name).
    tissues
        label -> UBERON id of where most of its cells are from: decides between the meanings of short forms.
    decide
        asked for the labels whose best claim is less likely than 0.7, with their claims; what it answers is taken.

    Returns
    -------
    label -> the term, or None where nothing is claimed.

    Raises
    ------
    OntologyError
        when a correction names an unknown id, lacks a column, or two rows contradict each other.
    """
    tissues = tissues or {}
    by_hand = _edited(out_mapping, kind)
    if corrections is not None:
        by_hand.update(_corrections(corrections, kind))
    terms: dict[str, Match | None] = {}
    rows: list[Row] = []
    prefix = column_affixes(labels)[0]
    # A cell line keeps its own name: it is no cell of the body, and two lines of one origin are not the same cells.
    lines = {label for label in labels if kind == "cell-type" and label not in by_hand and line_of_label(label)}
    claims = {
        label: [] if label in lines else _claims(kind, label, prefix, tissues.get(label))
        for label in labels
        if label not in by_hand
    }
    unsure = {
        label: claim for label, claim in claims.items() if label not in lines and (not claim or claim[0].score < UNSURE)
    }
    decided = decide(unsure) if decide is not None and unsure else {}
    for label in sorted(labels, key=lambda name: (-labels[name], name)):
        match = by_hand[label] if label in by_hand else decided.get(label) or next(iter(claims[label]), None)
        terms[label] = match
        method = match.method if match else BY_HAND if label in by_hand else ""
        rows.append(
            Row(
                kind,
                label,
                match.id if match else "",
                match.name if match else "",
                f"{match.score:.4g}" if match else "",
                method,
                str(labels[label]),
            )
        )
    _write(out_mapping, [row for row in _read(out_mapping) if row.kind != kind] + rows)
    unmapped = [f"{row.label} ({row.n_cells} cells)" for row in rows if not row.id and row.label not in lines]
    if unmapped:
        logger.warning(
            "%s: no %s term for %s; correct the id column to name one", out_mapping, kind, ", ".join(unmapped)
        )
    return terms


def _claims(kind: str, label: str, prefix: str, tissue: str | None) -> list[Match]:
    """Matches of a label, best first; without the prefix of its column (`Lung_AT2`) if that is more likely.

    Prefixes with a meaning of their own (`CD4_`, `Malignant_`) are kept.
    """
    whole = resolve(kind, label, 5, tissue)
    short = label.removeprefix(prefix)
    if short == label or (kind == "cell-type" and is_known(prefix)):
        return whole
    bare = resolve(kind, short, 5, tissue)
    return bare if bare and (not whole or bare[0].score > whole[0].score) else whole


def _corrections(path: Path, kind: str) -> dict[str, Match | None]:
    if not path.exists():
        raise OntologyError(f"{path}: no such file (corrected labels: kind, label, id)")
    chosen: dict[str, Match | None] = {}
    for number, row in _numbered(path):
        if row.kind != kind:
            continue
        match = _by_hand(row, f"{path}: line {number}")
        if row.label in chosen and chosen[row.label] != match:
            raise OntologyError(f"{path}: line {number}: '{row.label}' is listed twice with different ids")
        chosen[row.label] = match
    return chosen


def _edited(path: Path, kind: str) -> dict[str, Match | None]:
    """Rows of an earlier table that were edited."""
    chosen: dict[str, Match | None] = {}
    for number, row in _numbered(path) if path.exists() else ():
        if row.kind == kind and (row.method == BY_HAND or (row.id and _label_of(row.id) != row.name)):
            chosen[row.label] = _by_hand(row, f"{path}: line {number}")
    return chosen


def _by_hand(row: Row, where: str) -> Match | None:
    if not row.id:
        return None
    try:
        chosen = term(row.id)
    except OntologyError as error:
        raise OntologyError(f"{where}: id of '{row.label}': {error.message}") from None
    return Match(chosen.id, chosen.label, 1.0, BY_HAND)


def _label_of(term_id: str) -> str | None:
    try:
        return term(term_id).label
    except OntologyError:
        return None


def _read(path: Path) -> list[Row]:
    return [row for _, row in _numbered(path)] if path.exists() else []


def _numbered(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle, delimiter="\t")
        missing = [name for name in ("kind", "label", "id") if name not in (reader.fieldnames or [])]
        if missing:
            raise OntologyError(f"{path}: lacks the column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
        for row in reader:
            yield reader.line_num, Row(*((row.get(name) or "").strip() for name in COLUMNS))


def _write(path: Path, rows: list[Row]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(row, name) for name in COLUMNS] for row in rows)
    write_text(path, text.getvalue())
