"""Translate the obs of one atlas into the standard columns of `cells.parquet`, column by column in chunks."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.atlas.check import check_atlas, without_absent
from haystack.atlas.columns import (
    CHUNK,
    LabelColumn,
    SameLabel,
    chunks,
    count_labels,
    label_pairs,
    n_rows,
    pair_columns,
    read_labels,
)
from haystack.atlas.controls import control_codes, is_zero, read_perturbations
from haystack.atlas.genes import Genes, read_genes
from haystack.atlas.index import read_warnings as read_warnings  # its name since the first cells.parquet
from haystack.atlas.intake import describe_atlas, write_intake
from haystack.atlas.labels import PerturbedLabel, mean_perturbations, mean_terms
from haystack.atlas.markers import types_by_markers
from haystack.atlas.matrix import find_matrix
from haystack.atlas.species import Organisms, read_organisms
from haystack.atlas.store import Store, open_atlas
from haystack.contracts.query import GENETIC_EFFECTS
from haystack.contracts.tables import CELLS
from haystack.files import whole_file

if TYPE_CHECKING:
    import pyarrow as pa

    from haystack.config import AtlasEntry

log = logging.getLogger(__name__)

ROW_GROUP = 262_144
_TERMS = {
    "tissue": ("tissue", "tissue_uberon_id", "tissue_name"),
    "cell_type": ("cell-type", "cell_type_cl_id", "cell_type_name"),
    "disease": ("disease", "disease_mondo_id", "disease_name"),
}
_PLAIN = {"condition": "sample_condition", "age": "age_category", "sex": "sex"}


@dataclass
class _Recode:
    """An output column: a source column, and the new label of each of its categories (None: missing)."""

    source: LabelColumn
    words: list[str | None]


@dataclass
class _Plan:
    """Input of the second pass; the first pass read categories and counts only."""

    n_cells: int
    organisms: Organisms
    genes: Genes
    columns: dict[str, _Recode] = field(default_factory=dict)
    perturbation: LabelColumn | None = None
    controls: set[str] = field(default_factory=set)
    depth: dict[str, np.ndarray] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    """those of the warnings that an answer from these cells should repeat"""


@dataclass
class _Places:
    """Tissues of an atlas, which disambiguate abbreviated labels (PC, CD)."""

    n_cells: int
    source: LabelColumn | None = None
    ids: dict[str, str] = field(default_factory=dict)
    """label -> UBERON id"""

    def of(self, kind: str, labels: LabelColumn) -> dict[str, str]:
        """Label -> UBERON id of most of its cells; empty if no label is an abbreviation."""
        from haystack.ontology.shortforms import meanings

        if self.source is None or kind == "tissue" or not any(meanings(kind, x, None) for x in labels.categories):
            return {}
        pairs = label_pairs(labels, self.source, self.n_cells)
        return {label: self.ids[place] for label, place in pairs.items() if place in self.ids}


def harmonize_atlas(
    name: str,
    entry: AtlasEntry,
    out_cells: Path,
    out_mapping: Path,
    out_intake: Path | None = None,
    model_genes: set[str] | None = None,
) -> None:
    """Write `cells.parquet` (contract CELLS, rows in the order of the matrix) and the mapping of labels of one atlas.

    Two passes over the named obs columns: distinct labels with their counts, which are resolved once each; then chunks
    of a million cells, recoded and appended. X is read only for `read_counts: true`, in blocks. Cells of a perturbation
    atlas without a perturbation label are left out (what was done to them is unknown); cells without another label
    keep a null. Cells of other species, where a column says so, are left out. Warnings (missing labels, repeated obs
    names) are logged and kept in the file's metadata; answers repeat those that cast doubt on counts or donors.

    Parameters
    ----------
    name, entry
        the atlas.
    out_cells, out_mapping : Path
        files to write, whole or not at all.
    out_intake : Path, optional
        `intake.json` (contract Intake), with the page `intake.html` beside it.
    model_genes : set of str, optional
        symbols of the model, where it is there already: the report says how many the atlas shares.

    Raises
    ------
    AtlasError
        for whatever check_atlas finds, no cell with a label, or no cell left.
    """
    warnings = check_atlas(name, entry, model_genes)
    with open_atlas(name, entry) as store:
        plan = _read_plan(store, entry, Path(out_mapping))
        plan.doubts += warnings
        plan.warnings += plan.doubts
        for warning in plan.warnings:
            log.warning("atlas '%s' (%s): %s", name, entry.path, warning)
        with whole_file(out_cells) as temporary:
            written = _write_cells(plan, temporary)
            if not written:
                raise store.error(f"no cell is left: column '{entry.obs.perturbation}' labels none")
        if out_intake is not None:
            report = describe_atlas(
                store,
                entry,
                genes=plan.genes,
                organisms=plan.organisms,
                controls=plan.controls,
                cells=Path(out_cells),
                mapping=Path(out_mapping),
                warnings=plan.warnings,
                model_genes=model_genes,
            )
            write_intake(report, Path(out_intake))
    log.info("atlas '%s': %s of %s cells indexed", name, f"{written:,}", f"{plan.n_cells:,}")


def _read_plan(store: Store, entry: AtlasEntry, out_mapping: Path) -> _Plan:
    matrix = find_matrix(store, entry.counts_layer)
    organisms = read_organisms(store)
    plan = _Plan(n_rows(store, "obs"), organisms, read_genes(store, entry, matrix.var, organisms))
    entry, plan.warnings = without_absent(store, entry)
    plan.warnings += plan.genes.notes()
    for species, n in organisms.left_out.items():
        plan.warnings.append(f"{n:,} cells of another species left out ({organisms.column}: {species})")
    places = _Places(plan.n_cells)
    for key, (kind, id_column, name_column) in _TERMS.items():
        source, cells = _source(store, entry, key, plan)
        decide = partial(types_by_markers, entry, source, cells) if key == "cell_type" else None
        terms = mean_terms(kind, cells, entry.mapping, out_mapping, places.of(kind, source), decide)
        if key == "tissue":
            places.source, places.ids = source, {label: term.id for label, term in terms.items() if term.id}
        if key == "cell_type":
            plan.columns["cell_type_original"] = _Recode(source, list(source.categories))
        for column, part in ((id_column, "id"), (name_column, "name")):
            words = [getattr(terms[label], part) if label in terms else None for label in source.categories]
            plan.columns[column] = _Recode(source, words)
        unmapped = [label for label in cells if terms[label].id is None]
        if unmapped:
            total = sum(cells[label] for label in unmapped)
            plan.warnings.append(f"{len(unmapped)} {kind} labels ({total:,} cells) are not mapped: {_few(unmapped)}")
    if entry.obs.perturbation:
        _plan_perturbation(store, entry, plan, out_mapping)
    _plan_donors(store, entry, plan)
    for key, column in _PLAIN.items():
        source, _ = _source(store, entry, key, plan)
        plan.columns[column] = _Recode(source, list(source.categories))
    _plan_depth(store, entry, plan)
    _warn_repeated_names(store, plan)
    return plan


def _source(store: Store, entry: AtlasEntry, key: str, plan: _Plan) -> tuple[LabelColumn, dict[str, int]]:
    """The column behind a key of the entry, or its constant, and the cells of each label."""
    column = getattr(entry.obs, key)
    if column is None:
        constant = entry.constants.get(key)  # type: ignore[call-overload]
        return SameLabel([constant] if constant else []), {constant: plan.n_cells} if constant else {}
    keep = frozenset({"none"}) if key == "disease" else frozenset()  # none: healthy
    source = read_labels(store, column, f"obs.{key}", keep=keep)
    counts = count_labels(source, plan.n_cells)
    missing = int(counts[-1])
    if missing:
        plan.warnings.append(f"{missing:,} of {plan.n_cells:,} cells have no label in '{column}' (obs.{key})")
    return source, _cells(source, counts)


def _cells(source: LabelColumn, counts: np.ndarray) -> dict[str, int]:
    """Number of cells of each label that occurs."""
    return {label: n for label, n in zip(source.categories, counts.tolist(), strict=False) if n}


def _plan_donors(store: Store, entry: AtlasEntry, plan: _Plan) -> None:
    """Donors, of which those that differ in case only are one: two would count as independent people."""
    source, cells = _source(store, entry, "donor", plan)
    spelt: dict[str, str] = {}
    for label in sorted(cells, key=lambda label: (-cells[label], label)):
        spelt.setdefault(label.casefold(), label)
    words = [f"{store.name}:{spelt.get(label.casefold(), label)}" for label in source.categories]
    plan.columns["donor_id"] = _Recode(source, list(words))
    merged = [label for label in cells if spelt[label.casefold()] != label]
    if merged:
        plan.doubts.append(
            f"donors {_few(merged)} differ from others in case only and are taken as the same people "
            f"({_few([spelt[label.casefold()] for label in merged])})"
        )
    if len(cells) > max(20, 0.2 * plan.n_cells):
        plan.doubts.append(
            f"'{entry.obs.donor}' (obs.donor) has {len(cells):,} labels for {plan.n_cells:,} cells: it seems to name "
            "cells, not people, and nothing can be compared within a donor. Choose another column"
        )


def _plan_perturbation(store: Store, entry: AtlasEntry, plan: _Plan, out_mapping: Path) -> None:
    column = str(entry.obs.perturbation)
    source = read_perturbations(store, entry)
    counts = count_labels(source, plan.n_cells)
    cells = _cells(source, counts)
    plan.perturbation = source
    plan.controls = control_codes(store, entry, cells)
    named: LabelColumn = source
    pairs: dict[PerturbedLabel, int] = {(label, None): cells.get(label, 0) for label in source.categories}
    if entry.obs.genetic_effect:
        ways = read_labels(store, entry.obs.genetic_effect, "obs.genetic_effect")
        named = paired = pair_columns(source, ways, plan.n_cells)
        pairs = paired.counts
    done = {pair: n for pair, n in pairs.items() if n and pair[0] not in plan.controls}
    structures = (
        label_pairs(source, read_labels(store, entry.obs.structure, "obs.structure"), plan.n_cells)
        if entry.obs.structure
        else {}
    )
    terms = mean_perturbations(done, entry, structures, out_mapping)
    plan.columns["perturbation_original"] = _Recode(source, list(source.categories))
    words = [terms.get(pair) for pair in pairs]
    plan.columns["perturbation_name"] = _Recode(named, [word.name if word else None for word in words])
    plan.columns["perturbation_type"] = _Recode(named, [word.type if word else None for word in words])
    unknown = [pair for pair in done if not terms[pair].method]
    if unknown:
        plan.warnings.append(
            f"{len(unknown)} of {len(done)} labels in '{column}' ({sum(done[pair] for pair in unknown):,} cells) are "
            f"not known by name: {_few([label for label, _ in unknown])}; only questions in the same words find them. "
            "Say what they mean: perturbation_names of its entry"
        )
    _warn_zero_dose(store, entry, plan, source)
    unsigned = {pair: n for pair, n in done.items() if terms[pair].unsigned and n}
    if unsigned:
        plan.warnings.append(
            f"{len(unsigned)} labels ({sum(unsigned.values()):,} cells) name genes without saying whether they were "
            f"lost or gained: {_few([label for label, _ in unsigned])}; no question about loss or gain uses them. Set "
            f"genetic_effect of its entry to {', '.join(GENETIC_EFFECTS)}, or obs.genetic_effect to the column with it"
        )
    missing = int(counts[-1])
    if missing:
        plan.warnings.append(
            f"{missing:,} of {plan.n_cells:,} cells have no label in '{column}' (obs.perturbation); they are left out"
        )


def _warn_zero_dose(store: Store, entry: AtlasEntry, plan: _Plan, source: LabelColumn) -> None:
    """Treated cells whose dose or time is zero are controls by another name."""
    column = entry.obs.condition
    if column is None or not re.search("dose|conc|time|hour|day", column, re.IGNORECASE):
        return
    doses = read_labels(store, column, "obs.condition")
    if not any(is_zero(label) for label in doses.categories):
        return
    pairs = pair_columns(source, doses, plan.n_cells).counts
    zero = {pair: n for pair, n in pairs.items() if n and pair[1] and is_zero(pair[1]) and pair[0] not in plan.controls}
    if zero:
        plan.doubts.append(
            f"{sum(zero.values()):,} cells of {_few([label for label, _ in zero])} have a dose or time of zero in "
            f"'{column}' (obs.condition) and count as treated. If they are controls, write a column that says so"
        )


def _plan_depth(store: Store, entry: AtlasEntry, plan: _Plan) -> None:
    from haystack.atlas.depth import counted_depth, depth_column

    if entry.read_counts:
        plan.depth = counted_depth(store, entry, plan.genes)
        return
    for key in ("n_genes", "total_counts"):
        column = getattr(entry.obs, key)
        if column is not None:
            plan.depth[key] = depth_column(store, column, f"obs.{key}")


def _warn_repeated_names(store: Store, plan: _Plan) -> None:
    from haystack.atlas.depth import repeated_name

    found = repeated_name(store, plan.n_cells)
    if found:
        count, example = found
        plan.warnings.append(
            f"{count:,} obs names are repeated (such as '{example}'); cells are known by their row, not their name"
        )


def _write_cells(plan: _Plan, path: Path) -> int:
    import pyarrow.parquet as pq

    schema = _schema(plan)
    dictionaries = {column: _dictionary(recode.words) for column, recode in plan.columns.items()}
    written = 0
    with pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=[c.name for c in CELLS.columns if c.kind == "str"],
        column_encoding={"row": "DELTA_BINARY_PACKED"},
    ) as writer:
        for start, stop in chunks(plan.n_cells, CHUNK):
            table = _chunk(plan, dictionaries, schema, start, stop)
            written += table.num_rows
            writer.write_table(table, row_group_size=ROW_GROUP)
    return written


def _chunk(plan: _Plan, dictionaries: dict[str, Any], schema: pa.Schema, start: int, stop: int) -> pa.Table:
    import pyarrow as pa

    size = stop - start
    codes: dict[int, np.ndarray] = {}
    arrays: dict[str, Any] = {"row": pa.array(np.arange(start, stop, dtype=np.int64))}
    for column, recode in plan.columns.items():
        if id(recode.source) not in codes:
            codes[id(recode.source)] = recode.source.codes(start, stop)
        lookup, words = dictionaries[column]
        recoded = lookup[codes[id(recode.source)]]
        arrays[column] = pa.DictionaryArray.from_arrays(pa.array(recoded, mask=recoded < 0), words)
    kept = plan.organisms.is_human(start, stop)
    if plan.perturbation is None:
        arrays["is_control"] = pa.array(np.ones(size, dtype=bool))
    else:
        treated = codes[id(plan.perturbation)]
        control = np.array([label in plan.controls for label in plan.perturbation.categories] + [False])
        arrays["is_control"] = pa.array(control[treated])
        kept = treated >= 0 if kept is None else kept & (treated >= 0)
    for column, values in plan.depth.items():
        part = values[start:stop]
        arrays[column] = pa.array(part, from_pandas=True).cast(schema.field(column).type)
    columns = [
        arrays[item.name] if item.name in arrays else pa.nulls(size, schema.field(item.name).type)
        for item in CELLS.columns
    ]
    table = pa.Table.from_arrays(columns, schema=schema)
    return table if kept is None or kept.all() else table.filter(pa.array(kept))


def _schema(plan: _Plan) -> pa.Schema:
    import pyarrow as pa

    types = {
        "str": pa.dictionary(pa.int32(), pa.string()),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
    }
    fields = [pa.field(c.name, types[c.kind], nullable=c.nullable) for c in CELLS.columns]
    return pa.schema(
        fields, metadata={"haystack.warnings": json.dumps(plan.warnings), "haystack.doubts": json.dumps(plan.doubts)}
    )


def _dictionary(words: list[str | None]) -> tuple[np.ndarray, pa.Array]:
    """Look-up from source code to code of the distinct labels (None and -1 become -1), and those labels."""
    import pyarrow as pa

    distinct = {word: i for i, word in enumerate(dict.fromkeys(word for word in words if word is not None))}
    lookup = np.array([distinct.get(word, -1) if word is not None else -1 for word in words] + [-1], dtype=np.int32)
    return lookup, pa.array(list(distinct), type=pa.string())


def _few(labels: list[str], limit: int = 5) -> str:
    shown = ", ".join(f"'{label}'" for label in labels[:limit])
    return shown + (f" and {len(labels) - limit} more" if len(labels) > limit else "")
