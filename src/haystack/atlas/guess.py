"""Guess an entry for an atlas from its file, with a reason for every field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.atlas.columns import count_labels, n_rows, obs_columns, read_labels
from haystack.atlas.controls import as_patterns, looks_like_control, quoted, unused_treatments
from haystack.atlas.counts import fault_of_sample
from haystack.atlas.features import column_texts, feature_names
from haystack.atlas.genes import read_genes
from haystack.atlas.layouts import GENERIC, KINDS, NAMES, Layout, effect_of, key_of, layout_of, line_in_name
from haystack.atlas.matrix import find_matrix, matrices
from haystack.atlas.species import read_organisms
from haystack.atlas.store import Store, open_atlas
from haystack.config import NAME, AtlasEntry, read_yaml
from haystack.errors import AtlasError, ConfigError
from haystack.files import write_text

if TYPE_CHECKING:
    from haystack.contracts.query import PerturbationType

MAX_LABELS = 60_000
"""largest number of distinct labels in a column of conditions"""
_IDS = {"cell_type": ("CL:", "CVCL"), "tissue": ("UBERON:", "CL:", "CVCL"), "disease": ("MONDO:", "PATO:")}
_PARTIAL = re.compile(r"spliced|unspliced|ambiguous|nascent|norm|log|scale|denois|corrected|decont", re.IGNORECASE)
_DONE = re.compile(r"stim|treat|infect|exposed|perturbed|activated|\+|drug", re.IGNORECASE)


@dataclass
class Labels:
    """The labels of an obs column: label -> cells, and the number of cells without one."""

    cells: dict[str, int]
    n_missing: int

    @property
    def controls(self) -> list[str]:
        """Labels that look like controls."""
        return [label for label in self.cells if looks_like_control(label)]


@dataclass
class Guess:
    """A draft entry: values as in `config/atlases.yaml`, and the reason for each."""

    name: str
    values: dict[str, Any]
    reasons: dict[str, str] = field(default_factory=dict)
    """key (`obs.donor`) -> comment"""

    def set(self, key: str, value: Any, reason: str = "") -> None:
        """Set `key` (one dot at most) with the reason for it."""
        section, _, inner = key.rpartition(".")
        target = self.values.setdefault(section, {}) if section else self.values
        target[inner] = value
        if reason:
            self.reasons[key] = reason

    def entry(self) -> AtlasEntry:
        """The entry, validated."""
        return AtlasEntry.model_validate(self.values)

    def yaml(self) -> str:
        """The entry as it stands in `config/atlases.yaml`."""
        lines = [f"{self.name}:"]
        for key, value in self.values.items():
            if isinstance(value, dict):
                lines.append(f"  {key}:")
                lines += [self._line(f"{key}.{inner}", inner, item, "    ") for inner, item in value.items()]
            else:
                lines.append(self._line(key, key, value, "  "))
        return "\n".join(lines) + "\n"

    def _line(self, key: str, shown: str, value: Any, indent: str) -> str:
        if isinstance(value, list):
            text = f"[{', '.join(quoted(item) for item in value)}]"
        else:
            text = str(value).lower() if isinstance(value, bool) else _scalar(str(value))
        reason = f"  # {self.reasons[key]}" if key in self.reasons else ""
        return f"{indent}{shown}: {text}{reason}"


def guess_entry(path: str, name: str | None = None) -> Guess:
    """Guess the entry of an atlas from its structure, labels and 128 rows.

    Raises
    ------
    AtlasError
        when the file cannot be read or holds no counts.
    """
    word = name or re.sub(r"[^A-Za-z0-9_.-]+", "_", Path(path.rstrip("/")).name.split(".")[0]).strip("_.-") or "atlas"
    if not NAME.fullmatch(word):
        raise ConfigError(f"atlas name '{word}' may hold only letters, digits, '_', '-' and '.'")
    guess = Guess(word, {"path": path})
    with open_atlas(word, AtlasEntry(path=path, constants={"cell_type": "unknown"})) as store:
        columns = set(obs_columns(store))
        layout = layout_of(store, columns)
        if layout is not None:
            guess.set("description", layout.description, "recognised by its columns")
        labels = _Labels(store)
        _guess_perturbation(guess, labels, layout)
        unused = unused_treatments(store, guess.values.get("obs", {}).values())
        if unused and "perturbation" not in guess.values.get("obs", {}):
            guess.reasons["path"] = unused
        _guess_labels(guess, labels)
        _guess_depth(guess, store, columns)
        _guess_genes(guess, store)
    _order(guess)
    return guess


def add_entry(guess: Guess, atlases: Path) -> None:
    """Append the entry to a list of atlases, keeping its content and comments.

    Raises
    ------
    ConfigError
        if the list already has an atlas of that name.
    """
    text = atlases.read_text(encoding="utf-8") if atlases.exists() else ""
    if guess.name in (read_yaml(atlases) if atlases.exists() else {}):
        raise ConfigError(f"{atlases}: has an atlas '{guess.name}' already. Choose another name: --name")
    write_text(atlases, f"{text.rstrip()}\n\n{guess.yaml()}" if text.strip() else guess.yaml())


class _Labels:
    """Labels of obs columns, each read once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.names = obs_columns(store)
        self.by_key = {key_of(name): name for name in reversed(self.names)}
        self.known: dict[str, Labels | None] = {}

    def find(self, field_name: str) -> list[str]:
        """Columns that may hold a field, the most likely first."""
        return [self.by_key[key] for key in NAMES[field_name] if key in self.by_key]

    def of(self, column: str) -> Labels | None:
        """Labels of a column; None if it holds scores or cell names."""
        if column not in self.known:
            self.known[column] = self._read(column)
        return self.known[column]

    def _read(self, column: str) -> Labels | None:
        if self._is_long(column):
            return None
        try:
            labels = read_labels(self.store, column, "obs")
        except (AtlasError, KeyError):
            return None
        if len(labels.categories) > MAX_LABELS:
            return None
        counts = count_labels(labels, n_rows(self.store, "obs")).tolist()
        cells = {label: n for label, n in zip(labels.categories, counts, strict=False) if n}
        return Labels(cells, counts[-1])

    def _is_long(self, column: str) -> bool:
        """Whether a column holds mostly distinct plain texts, such as cell names, and need not be read to the end."""
        node = self.store.root[f"obs/{column}"]
        if self.store.is_group(f"obs/{column}") or node.shape[0] < 10_000:
            return False
        head = np.asarray(node[:10_000])
        return head.dtype.kind == "f" or len(set(head.tolist())) > 5_000


def _guess_perturbation(guess: Guess, labels: _Labels, layout: Layout | None) -> None:
    for column in labels.find("perturbation"):
        found = labels.of(column)
        if found is None or len(found.cells) + bool(found.n_missing) < 2:
            continue
        controls = as_patterns(found.controls)
        treated = [label for label in found.cells if label not in set(found.controls)]
        kind, why = _kind(column, treated, labels)
        if not controls and found.n_missing and kind == "genetic":
            controls = ["nan"]
        if not controls or not treated or (key_of(column) in GENERIC and kind is None and not _says_done(treated)):
            continue
        guess.set(
            "obs.perturbation", column, f"{_labels(len(treated))} beside controls, such as {', '.join(treated[:2])}"
        )
        guess.set("control_labels", controls, "look like controls" if controls != ["nan"] else "cells without a label")
        guess.set("perturbation_type", kind or "unknown", why)
        if kind == "genetic":
            effect, reason = effect_of(
                labels.store, layout, {name: labels.of(name) for name in KINDS if name in labels.names}
            )
            if effect:
                guess.set("genetic_effect", effect, reason)
            else:
                guess.reasons["perturbation_type"] += (
                    "; say how genes were changed: genetic_effect: CRISPRi, CRISPRa, ..."
                )
        vague = [
            label for label in treated if re.fullmatch(r"stim(ulated)?|treated|perturbed|drug|yes|1|true", label, re.I)
        ]
        if vague:
            guess.reasons["obs.perturbation"] += (
                f". Say what '{vague[0]}' means: perturbation_names: {{{vague[0]}: ...}}"
            )
        return


def _says_done(treated: Sequence[str]) -> bool:
    return any(_DONE.search(label) for label in treated)


def _kind(column: str, treated: Sequence[str], labels: _Labels) -> tuple[PerturbationType | None, str]:
    """What kind of thing the labels of a column name, with the reason."""
    from haystack.knowledge import resolve_perturbation
    from haystack.knowledge.genetic import gene_symbol

    said = labels.of("perturbation_type") if "perturbation_type" in labels.names else None
    for label in said.cells if said else ():
        for pattern, kind in KINDS["perturbation_type"].items():
            if re.search(pattern, label, re.IGNORECASE):
                return kind, f"obs.perturbation_type says {label}"
    for pattern, kind in KINDS["column"].items():
        if re.search(pattern, column, re.IGNORECASE):
            return kind, f"by the name of the column, {column}"
    some = list(treated[:200])
    parts = [
        [part for part in re.split(r"[+_,|;/ ]", label) if part and not looks_like_control(part)] for label in some
    ]
    genes = sum(bool(part) and all(gene_symbol(word) for word in part) for part in parts)
    types = [known.type for label in some if (known := resolve_perturbation(label)) is not None]
    cytokines, drugs = types.count("cytokine"), types.count("drug")
    if genes > 0.5 * len(some) and genes > cytokines:
        return "genetic", f"{genes} of {len(some)} labels are genes"
    if max(cytokines, drugs) > 0.3 * max(len(some), 1):
        known_kind: PerturbationType = "cytokine" if cytokines >= drugs else "drug"
        return known_kind, f"{max(cytokines, drugs)} of {len(some)} labels are known {known_kind}s"
    return None, "say what obs.perturbation names: drug, cytokine or genetic"


def _guess_labels(guess: Guess, labels: _Labels) -> None:
    for key in ("cell_type", "donor", "tissue", "disease", "condition", "age", "sex", "structure"):
        taken = guess.values.get("obs", {}).values()
        for column in labels.find(key):
            found = labels.of(column)
            if column in taken or found is None or not found.cells:
                continue
            if key in _IDS and "term" in column and not all(label.startswith(_IDS[key]) for label in found.cells):
                continue
            if key == "condition" and len(found.cells) < 2:
                continue
            if (
                key == "cell_type"
                and all(label.startswith("CVCL_") for label in found.cells)
                and len(labels.find(key)) > 1
            ):
                continue  # accessions of cell lines, where another column has their names
            guess.set(f"obs.{key}", column, _examples(found.cells))
            break
    if "cell_type" not in guess.values.get("obs", {}):
        line = line_in_name(guess.values["path"])
        reason = "from the file's name: check it" if line else "no column names cell types: say what they are"
        guess.set("constants.cell_type", line or "unknown", reason)


def _guess_depth(guess: Guess, store: Store, columns: set[str]) -> None:
    by_key = {key_of(name): name for name in columns}
    for key in ("n_genes", "total_counts"):
        for name in (by_key[word] for word in NAMES[key] if word in by_key):
            node = store.root[f"obs/{name}"]
            if hasattr(node, "dtype") and np.dtype(node.dtype).kind in "iuf":
                guess.set(f"obs.{key}", name)
                break
    if "total_counts" not in guess.values.get("obs", {}):
        guess.set("read_counts", True, "obs has no counts per cell")


def _guess_genes(guess: Guess, store: Store) -> None:
    """Find the matrix with counts, and its gene symbols."""

    def likeliest(word: str) -> tuple[bool, bool, bool]:
        return bool(_PARTIAL.search(word)), word != "X", word not in NAMES["counts"]

    faults: dict[str, str] = {}
    organisms = read_organisms(store)
    for kind in ("raw", "expected"):
        for word in sorted(matrices(store), key=likeliest):
            matrix = find_matrix(store, word)
            column = symbols_column(store, matrix.var)
            entry = AtlasEntry(path=store.path, constants={"cell_type": "unknown"}, gene_symbols=column)
            fault = fault_of_sample(store, matrix, kind, read_genes(store, entry, matrix.var, organisms))
            if fault is not None:
                faults[word] = fault
                continue
            why = "" if word == "X" else f"holds counts; X does not: {faults['X']}" if "X" in faults else "holds counts"
            guess.set("counts_layer", word, why)
            if kind == "expected":
                guess.set("counts", "expected", "not whole: rounded when cells are read")
            if column:
                guess.set("gene_symbols", column, "var names are no symbols")
            return
    found = "; ".join(f"{word}: {why}" for word, why in faults.items())
    raise store.error(f"no matrix of the file holds counts ({found}). Get the file with raw counts")


def symbols_column(store: Store, var: str) -> str | None:
    """The var column with gene symbols; None if the names are symbols, or no column is."""
    from haystack.knowledge.retired import current_symbols, retired_symbols

    def known(values: Iterable[str]) -> int:
        return sum(value.upper() in current_symbols() or value.upper() in retired_symbols() for value in set(values))

    names = feature_names(store, var)
    best, most = None, 2 * known(names)
    frames = [var, *(["var"] if var != "var" else [])]
    for frame in frames:
        for column in store.keys(frame):
            values = column_texts(store, frame, column, n_rows(store, frame))
            if values is not None and (hits := known(values)) > most:
                best, most = column, hits
    return best


def _order(guess: Guess) -> None:
    order = (
        "path",
        "description",
        "obs",
        "constants",
        "control_labels",
        "perturbation_type",
        "genetic_effect",
        "gene_symbols",
    )
    values = guess.values
    guess.values = {key: values[key] for key in (*order, *values) if key in values}
    obs = guess.values.get("obs", {})
    fields = ("cell_type", "perturbation", "structure", "donor", "tissue", "disease", "condition", "age", "sex")
    if obs:
        guess.values["obs"] = {key: obs[key] for key in (*fields, *obs) if key in obs}


def _examples(cells: dict[str, int]) -> str:
    shown = [" ".join(label.split())[:40] for label in sorted(cells, key=lambda label: -cells[label])[:3]]
    return f"{_labels(len(cells))}, such as {', '.join(shown)}"


def _labels(n: int) -> str:
    return "1 label" if n == 1 else f"{n:,} labels"


def _scalar(text: str) -> str:
    import json

    return (
        text
        if re.fullmatch(r"[A-Za-z0-9/~_.][A-Za-z0-9_./:~+ ()-]*", text) and ": " not in text
        else json.dumps(text, ensure_ascii=False)
    )
