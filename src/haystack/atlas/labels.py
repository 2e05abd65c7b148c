"""Map labels of an atlas to ontology terms and perturbations, with a mapping file that can be corrected."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from haystack.atlas.columns import plain
from haystack.atlas.controls import looks_like_control
from haystack.errors import AtlasError
from haystack.files import write_text

if TYPE_CHECKING:
    from haystack.config import AtlasEntry
    from haystack.contracts.query import PerturbationType
    from haystack.ontology.mapping import Decide

ONTOLOGY_ID = re.compile(r"^(CL|UBERON|MONDO|PATO)[:_](\d+)$", re.IGNORECASE)
COLUMNS = ("kind", "label", "id", "name", "score", "method", "n_cells")
BY_HAND = "correction"
HEALTHY = "PATO:0000461"


@dataclass(frozen=True)
class Meaning:
    """Meaning of a label: an id (None if unmapped) and a name (the label itself if unmapped)."""

    id: str | None
    name: str
    type: PerturbationType | None = None
    """of a perturbation"""
    method: str = ""
    unsigned: bool = False
    """of a perturbation: a gene whose loss or gain is not stated"""


PerturbedLabel = tuple[str, str | None]
"""a label of obs.perturbation, and the one of obs.genetic_effect beside it"""


def mean_terms(
    kind: str,
    labels: Mapping[str, int],
    corrections: str | None,
    out_mapping: Path,
    tissues: Mapping[str, str] | None = None,
    decide: Decide | None = None,
) -> dict[str, Meaning]:
    """Ontology terms of labels; `out_mapping` gets (or renews) the rows of this kind.

    Parameters
    ----------
    kind : str
        cell-type, tissue or disease.
    labels : mapping
        label -> cells. A label may be an ontology id; of several ids between `||`, as CELLxGENE writes them, the
        first counts.
    corrections : str, optional
        mapping file of the entry; its rows win.
    out_mapping : Path
        the mapping file that this pipeline writes.
    tissues : mapping, optional
        label -> UBERON id of where most of its cells are from.
    decide : callable, optional
        see map_labels; markers of cell types.

    Returns
    -------
    dict
        label -> Meaning, for every label.
    """
    from haystack.ontology import map_labels

    short = {label: _first_id(label) for label in labels}
    cells: dict[str, int] = {}
    for label, count in labels.items():
        cells[short[label]] = cells.get(short[label], 0) + count
    if not cells:
        return {}
    places = {short[label]: place for label, place in (tissues or {}).items() if label in short}
    found = map_labels(cells, kind, Path(corrections) if corrections else None, out_mapping, places, decide)
    meanings = {}
    for label, word in short.items():
        match = found[word]
        meanings[label] = Meaning(None, label) if match is None else Meaning(match.id, match.name, method=match.method)
    return meanings


def mean_perturbations(
    labels: Mapping[PerturbedLabel, int], entry: AtlasEntry, structures: Mapping[str, str], out_mapping: Path
) -> dict[PerturbedLabel, Meaning]:
    """Canonical perturbations of labels; one that is not known keeps its label as name.

    `perturbation_names` of the entry says what a label stands for. In a mapping file, the id of a row of kind
    `perturbation` does: any name that the resolver knows; the entry's file wins over all. `structures` (label ->
    SMILES) fills the id of what no name resolves. What most labels of the column share (`drug_`, `_24h`) is left off
    where a label is not known with it, and so is a vehicle (`trametinib+DMSO`). Names that differ in case are one.

    Parameters
    ----------
    labels : mapping
        (label, how its genes were changed) -> cells.
    """
    from haystack.ontology.affixes import column_affixes

    by_hand = {row["label"]: row["id"] for row in _rows(out_mapping) if row["method"] == BY_HAND}
    by_hand |= {row["label"]: row["id"] for row in (_rows(Path(entry.mapping), required=True) if entry.mapping else [])}
    by_hand = {plain(label): text for label, text in by_hand.items() if text}
    named = {plain(label): text for label, text in entry.perturbation_names.items()}
    affixes = column_affixes(label for label, _ in labels)
    meanings = {}
    spellings: dict[str, str] = {}
    for label, written in labels:
        text = by_hand.get(label) or named.get(label, label)
        said = BY_HAND if label in by_hand else "entry" if label in named else ""
        meaning = _meaning(text, written, said, entry, affixes, structures.get(label))
        known = spellings.setdefault(meaning.name.casefold(), meaning.name)
        meanings[label, written] = replace(meaning, name=known)
    _append(out_mapping, labels, meanings, by_hand)
    return meanings


def _meaning(
    text: str, written: str | None, said: str, entry: AtlasEntry, affixes: tuple[str, str], smiles: str | None
) -> Meaning:
    from haystack.knowledge import clean_name, effect_of, resolve_label
    from haystack.ontology.affixes import without_affixes

    hint = entry.perturbation_type
    effect = (effect_of(written) if written else None) or entry.genetic_effect
    short = without_affixes(text, affixes)
    parts = re.split(r"\s*[+|&]\s*", short)
    alone = "+".join(part for part in parts if not looks_like_control(part))  # trametinib+DMSO
    spelt = dict.fromkeys(word for word in (text, short, alone) if word)
    known = next((found for word in spelt if (found := resolve_label(word, hint, effect))), None)
    if known is None:
        name = clean_name(short) if hint == "drug" else text
        return Meaning(
            f"SMILES:{smiles}" if smiles else None, name, hint or "unknown", said or ("structure" if smiles else "")
        )
    ids = [term if ":" in term else f"{database}:{term}" for database, term in known.external_ids.items()]
    kind = hint if hint and known.type == "unknown" else known.type
    unsigned = known.type == "genetic" and known.direction is None
    return Meaning(ids[0] if ids else None, known.name, kind, said or "perturbation", unsigned)


def _append(
    path: Path, labels: Mapping[PerturbedLabel, int], meanings: dict[PerturbedLabel, Meaning], fixed: dict[str, str]
) -> None:
    """Renew the perturbation rows of a mapping file; rows of other kinds stay."""
    rows = [row for row in _rows(path, kind=None) if row["kind"] != "perturbation"]
    for pair in sorted(labels, key=lambda pair: (-labels[pair], pair[0], pair[1] or "")):
        term, label = meanings[pair], pair[0]
        rows.append(
            {
                "kind": "perturbation",
                "label": label,
                "id": fixed.get(label) or term.id or "",
                "name": term.name,
                "score": "1" if term.method else "",
                "method": term.method,
                "n_cells": str(labels[pair]),
            }
        )
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, delimiter="\t", lineterminator="\n", extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, out.getvalue())


def _rows(path: Path, *, kind: str | None = "perturbation", required: bool = False) -> list[dict[str, str]]:
    """Rows of a mapping file (of one kind); none for an absent one that is not required."""
    if not path.exists() and not required:
        return []
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), delimiter="\t")
    except (OSError, UnicodeDecodeError) as error:
        raise AtlasError(f"{path}: the mapping of labels cannot be read ({error})") from None
    missing = {"kind", "label", "id"} - set(reader.fieldnames or [])
    if missing:
        raise AtlasError(f"{path}: lacks the columns {', '.join(sorted(missing))}; expected {', '.join(COLUMNS)}")
    rows = [{column: (row.get(column) or "").strip() for column in COLUMNS} for row in reader]
    return [row for row in rows if kind is None or row["kind"] == kind]


def _first_id(label: str) -> str:
    first = label.split("||")[0].strip()
    if first == HEALTHY:
        return "normal"  # the resolver of diseases knows it by name
    return first if ONTOLOGY_ID.match(first) else label
