"""Report on an atlas: its content, how its labels were understood, and what was left out and why."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.atlas.check import shared_genes
from haystack.atlas.columns import count_labels, n_rows, obs_columns, read_labels
from haystack.atlas.design import cross_donors
from haystack.atlas.index import run_sql
from haystack.atlas.matrix import find_matrix
from haystack.contracts.base import write_json
from haystack.contracts.intake import (
    Depth,
    DonorCrossing,
    GeneIntake,
    Intake,
    LabelCount,
    LabelMeaning,
    LeftOut,
)
from haystack.files import write_text

if TYPE_CHECKING:
    from haystack.atlas.genes import Genes
    from haystack.atlas.species import Organisms
    from haystack.atlas.store import Store
    from haystack.config import AtlasEntry

SHOWN = 60
"""rows and columns of the table of conditions and types; the rest is summed as `others`"""
_DOUBTFUL = re.compile(
    r"doublet|multiplet|ambiguous|unassigned|unclassified|undetermined|low[ _-]?quality|debris|empty[ _-]?drop|"
    r"contaminat|artefact|artifact|dead|dying|^mixed|unknown",
    re.IGNORECASE,
)
_DOUBLET_COLUMN = re.compile(r"doublet|multiplet|scrublet|scdblfinder", re.IGNORECASE)
_YES = {"true", "1", "yes", "doublet", "multiplet", "dbl"}


def describe_atlas(
    store: Store,
    entry: AtlasEntry,
    *,
    genes: Genes,
    organisms: Organisms,
    controls: Iterable[str],
    cells: Path,
    mapping: Path,
    warnings: list[str],
    model_genes: set[str] | None = None,
) -> Intake:
    """What one atlas holds and how it was understood, from its file and from what harmonising wrote.

    Parameters
    ----------
    store, entry
        the open atlas.
    genes, organisms, controls
        what harmonising found.
    cells, mapping : Path
        `cells.parquet` and `mapping.tsv` of the atlas.
    warnings
        what else should be known.
    model_genes : set of str, optional
        symbols of the model, where it is there already.
    """
    matrix = find_matrix(store, entry.counts_layer)
    n_cells = n_rows(store, "obs")
    groups = run_sql(
        """SELECT coalesce(cell_type_name, '(no label)') AS type, is_control, donor_id, perturbation_name,
                  perturbation_original AS label, count(*) AS n
           FROM cells GROUP BY ALL ORDER BY n DESC, 1, 2, 3, 4, 5""",
        cells=cells,
    )
    groups = groups.astype(object).where(groups.notna(), None)
    n_indexed = int(groups["n"].sum())
    condition = groups["perturbation_name"].where(~groups["is_control"].astype(bool), None).tolist()
    untreated = "control" if entry.obs.perturbation else "cells"
    named = [untreated if word is None else word for word in condition]
    types, conditions, table = _table(groups["type"], named, groups["n"])
    labels = set(controls)
    known = groups[[label in labels for label in groups["label"]]]
    stored = store.root[matrix.key if matrix.form == "dense" else f"{matrix.key}/data"]
    return Intake(
        atlas=store.name,
        path=entry.path,
        matrix=f"{matrix.key}, {matrix.form}, {stored.dtype}, {'zarr' if store.is_zarr else 'h5ad'}",
        counts=(
            "raw counts: whole, neither scaled nor logged nor mere presence, in a sample of rows"
            if entry.counts == "raw"
            else "expected counts, rounded when cells are read"
        ),
        n_cells=n_cells,
        n_indexed=n_indexed,
        left_out=_left_out(genes, organisms, n_cells - n_indexed),
        species=f"human, by {organisms.column}" if organisms.said_human else "human, by the names of genes",
        genes=GeneIntake(
            n_features=len(genes.place),
            n_symbols=len(genes.symbols),
            n_repeats=genes.n_repeats,
            repaired={what: len(names) for what, names in genes.repaired.items()},
            n_model=len(model_genes) if model_genes else None,
            n_shared=shared_genes(genes.symbols, model_genes) if model_genes else None,
        ),
        controls=_counted(known["label"], known["n"]),
        donors=_counted(groups["donor_id"], groups["n"]),
        conditions=conditions,
        cell_types=types,
        table=table,
        labels=_meanings(mapping),
        depth=_depth(cells),
        doublets=_doublets(store, groups["type"], groups["n"]),
        design=[
            DonorCrossing(**asdict(item))
            for item in cross_donors(zip(groups["donor_id"], condition, groups["n"], strict=True))
        ],
        warnings=warnings,
    )


def write_intake(report: Intake, out: Path) -> None:
    """Write `intake.json`, and the page `intake.html` beside it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    write_json(out, report)
    environment = Environment(
        loader=PackageLoader("haystack.atlas"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    largest = max((n for row in report.table for n in row), default=1)
    shade = [[round(float(np.log1p(n) / np.log1p(largest)), 3) if largest else 0 for n in row] for row in report.table]
    text = environment.get_template("intake.html.j2").render(report=report, shade=shade)
    write_text(out.with_suffix(".html"), text)


def as_text(report: Intake) -> str:
    """The report for a terminal."""
    genes = report.genes
    compared = genes.n_shared is not None and genes.n_model is not None
    shared = f", shared {genes.n_shared:,} of {genes.n_model:,} with the model" if compared else ""
    lines = [
        f"{report.atlas}: {report.path}",
        f"cells      {report.n_indexed:,} of {report.n_cells:,} indexed; {len(report.donors):,} donors",
        f"species    {report.species}",
        f"matrix     {report.matrix}; {report.counts}",
        f"genes      {genes.n_symbols:,} symbols of {genes.n_features:,} features{shared}",
    ]
    if report.depth:
        counts, per_cell = report.depth.counts[1], report.depth.genes[1:2] or [float("nan")]
        lines.append(f"depth      median {counts:,.0f} counts, {per_cell[0]:,.0f} genes per cell")
    if report.controls:
        lines.append("controls   " + ", ".join(f"{item.label} ({item.n_cells:,})" for item in report.controls[:8]))
    lines += [f"left out   {item.n:,} {item.unit}: {item.why}" for item in report.left_out]
    lines += [f"doubtful   {item.label}: {item.n_cells:,} cells" for item in report.doublets]
    confounded = [item for item in report.design if item.pairing in {"confounded", "partly paired"}]
    lines += [
        f"design     {item.condition}: {item.n_paired} of {item.n_donors} donors have control cells too "
        f"({item.pairing})"
        for item in confounded[:8]
    ]
    lines += ["", "cells per type and condition"]
    width = max([len(name) for name in report.cell_types], default=4)
    shown = report.conditions[:6]
    lines.append(" " * width + "".join(f"  {name[:14]:>14}" for name in shown))
    for name, row in zip(report.cell_types[:20], report.table, strict=False):
        lines.append(f"{name:<{width}}" + "".join(f"  {n:>14,}" for n in row[: len(shown)]))
    unmapped = [item for item in report.labels if item.id is None and item.kind != "perturbation"]
    lines += ["", f"labels     {len(report.labels) - len(unmapped)} of {len(report.labels)} mapped"]
    lines += [f"           not mapped: {item.kind} '{item.label}' ({item.n_cells:,} cells)" for item in unmapped[:8]]
    return "\n".join([*lines, *(f"warning    {text}" for text in report.warnings)])


def _left_out(genes: Genes, organisms: Organisms, n_missing: int) -> list[LeftOut]:
    found = [LeftOut(unit="features", n=n, why=f"no human genes: {kind}") for kind, n in genes.left_out.items()]
    found += [LeftOut(unit="cells", n=n, why=f"of another species: {name}") for name, n in organisms.left_out.items()]
    unlabelled = n_missing - sum(organisms.left_out.values())
    if unlabelled > 0:
        found.append(LeftOut(unit="cells", n=unlabelled, why="without a label of what was done to them"))
    return found


def _table(
    types: Iterable[str], conditions: Iterable[str], n: Iterable[int]
) -> tuple[list[str], list[str], list[list[int]]]:
    import pandas as pd

    frame = pd.DataFrame({"type": list(types), "condition": list(conditions), "n": [int(value) for value in n]})
    for column in ("type", "condition"):
        order = frame.groupby(column)["n"].sum().sort_values(ascending=False, kind="stable").index[:SHOWN]
        frame[column] = frame[column].where(frame[column].isin(order), "others")
    table = frame.pivot_table(index="type", columns="condition", values="n", aggfunc="sum", fill_value=0)
    table = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    table = table[table.sum().sort_values(ascending=False, kind="stable").index]
    return list(table.index), list(table.columns), table.to_numpy().astype(int).tolist()


def _counted(labels: Iterable[Any], n: Iterable[int]) -> list[LabelCount]:
    total: dict[str, int] = {}
    for label, cells in zip(labels, n, strict=True):
        if label is not None:
            total[str(label)] = total.get(str(label), 0) + int(cells)
    ordered = sorted(total.items(), key=lambda item: (-item[1], item[0]))
    return [LabelCount(label=label, n_cells=cells) for label, cells in ordered]


def _meanings(mapping: Path) -> list[LabelMeaning]:
    if not mapping.exists():
        return []
    with mapping.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    return [
        LabelMeaning(
            kind=row["kind"],
            label=row["label"],
            id=row["id"] or None,
            name=row["name"] or row["label"],
            score=float(row["score"]) if row.get("score") else None,
            method=row.get("method") or "",
            n_cells=int(row.get("n_cells") or 0),
        )
        for row in rows
    ]


def _depth(cells: Path) -> Depth | None:
    found = run_sql(
        """SELECT quantile_cont(total_counts, [0.05, 0.5, 0.95]) AS counts,
                  quantile_cont(n_genes, [0.05, 0.5, 0.95]) AS genes, count(total_counts) AS n FROM cells""",
        cells=cells,
    ).iloc[0]
    if not found["n"]:
        return None
    bins = run_sql(
        """SELECT floor(10 * log10(greatest(total_counts, 1))) AS bin, count(*) AS n
           FROM cells GROUP BY bin ORDER BY bin""",
        cells=cells,
    ).dropna()
    low, high = int(bins["bin"].min()), int(bins["bin"].max())
    cells_of = dict(zip(bins["bin"].astype(int), bins["n"].astype(int), strict=True))
    return Depth(
        counts=_numbers(found["counts"]),
        genes=_numbers(found["genes"]),
        bins=[step / 10 for step in range(low, high + 2)],
        histogram=[cells_of.get(step, 0) for step in range(low, high + 1)],
    )


def _numbers(values: Any) -> list[float]:
    return [round(float(value), 1) for value in values] if isinstance(values, list | np.ndarray) else []


def _doublets(store: Store, types: Iterable[str], n: Iterable[int]) -> list[LabelCount]:
    found = _counted([name if _DOUBTFUL.search(name) else None for name in types], n)
    for column in filter(_DOUBLET_COLUMN.search, obs_columns(store)):
        node = store.root[f"obs/{column}"]
        if hasattr(node, "dtype") and np.dtype(node.dtype).kind == "f":
            continue  # a score
        labels = read_labels(store, column, "obs")
        counts = count_labels(labels, n_rows(store, "obs")).tolist()
        called = sum(cells for label, cells in zip(labels.categories, counts, strict=False) if label.casefold() in _YES)
        if called:
            found.append(LabelCount(label=f"called doublets by obs column '{column}'", n_cells=called))
    return found
