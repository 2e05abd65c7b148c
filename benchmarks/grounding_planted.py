"""Planted nulls, shams and real effects of the Kang donors, each through the whole pipeline without Snakemake.

Part of benchmarks/grounding.py (`planted`). Every case is an atlas made of kang_donors.h5ad and a question; the loop's
first iteration runs as the workflow runs it. No constant was chosen on these cases.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from scipy import sparse

from grounding_pipeline import index_atlases, run_loop
from haystack.config import AtlasEntry, Settings

TYPES = {
    "CD14+ Monocytes": "CD14+ monocytes",
    "CD4 T cells": "CD4 T cells",
    "B cells": "B cells",
    "CD8 T cells": "CD8 T cells",
    "FCGR3A+ Monocytes": "CD16+ monocytes",
}
"""label of the file -> words of a question"""
DONORS = ("patient_101", "patient_107")


@dataclass(frozen=True)
class Case:
    """An atlas (obs: cell, stim, ind) and the label asked for."""

    name: str
    kind: str
    """null, sham, real; null pair and real pair: one donor pair alone, asked for another donor"""
    label: str
    cells: ad.AnnData


def cases(path: Path) -> Iterator[Case]:
    """Planted nulls of each type in both directions, same-donor shams, real effects with and without matched donors."""
    whole = ad.read_h5ad(path)
    whole.var_names = whole.var_names.str.upper()
    control = whole[whole.obs["stim"] == "ctrl"].copy()
    for label in TYPES:
        for first in DONORS:
            yield Case(f"null {label} {first}", "null", label, _as_treated(control, control.obs["ind"] == first))
    rng = np.random.default_rng(0)
    half = rng.random(control.n_obs) < 0.5
    yield Case("split halves", "sham", "CD14+ Monocytes", _as_treated(control, half))
    yield Case("stressed halves", "sham", "CD14+ Monocytes", _stressed(_as_treated(control, half)))
    yield Case("shallow halves", "sham", "CD14+ Monocytes", _shallow(_as_treated(control, half), rng))
    for label in TYPES:
        held = ~((whole.obs["cell"] == label) & (whole.obs["stim"] == "stim"))
        yield Case(f"real {label}", "real", label, whole[held.to_numpy()].copy())
    yield from pairs(whole)
    other = whole.copy()
    named = other.obs["ind"].astype(str) + np.where(other.obs["stim"] == "stim", "_treated", "")
    other.obs["ind"] = named
    for label in ("CD14+ Monocytes", "CD4 T cells"):
        held = ~((other.obs["cell"] == label) & (other.obs["stim"] == "stim"))
        yield Case(f"unmatched {label}", "real", label, other[held.to_numpy()].copy())


def pairs(whole: ad.AnnData) -> Iterator[Case]:
    """One donor pair at a time, asked for the asked type of a third donor (a random half of a donor's control cells).

    Real: treated and control cells of one donor. Null: control cells of one donor, called treated, and of the other.
    """
    rng = np.random.default_rng(1)
    calm = (whole.obs["stim"] == "ctrl").to_numpy()
    donor = whole.obs["ind"].to_numpy()
    for label in TYPES:
        for first, second in (DONORS, DONORS[::-1]):
            asked = calm & (donor == second) & (rng.random(whole.n_obs) < 0.5)
            kept = {
                "null pair": calm & ~asked,
                "real pair": (donor == first) & ~((whole.obs["cell"] == label).to_numpy() & ~calm),
            }
            for kind, own in kept.items():
                cells = whole[own | asked].copy()
                cells.obs["ind"] = np.where(asked[own | asked], "asked", cells.obs["ind"].astype(str))
                if kind == "null pair":
                    cells = _as_treated(cells, cells.obs["ind"] == first)
                yield Case(f"{kind} {label} {first}", kind, label, cells)


def run_case(case: Case, folder: Path, kind: str) -> dict[str, Any]:
    """One question through the pipeline's first iteration; what the score says of its best prompt."""
    entry = kang_atlas(case.cells, folder)
    settings = Settings.model_validate({"model": {"kind": kind}, "prompts_per_iteration": 2, "max_iterations": 1})
    text = f"How would {TYPES[case.label]} respond to IFN-beta?"
    found = run_loop(text, index_atlases({"kang": entry}, folder), settings, folder)[0]
    best = next(item for item in found.prompts if item.prompt_id == found.best_prompt_id)
    return {
        "case": case.name,
        "kind": case.kind,
        "model": kind,
        "value": best.composite_value,
        "confidence": best.confidence,
        "capped_by": best.capped_by,
        "verdict": best.verdict,
        "expected_r": best.expected_r,
        "accuracy": found.accuracy.r if found.accuracy else None,
        "low": [item.name for item in best.findings if item.cap == "low"],
    }


def kang_atlas(cells: ad.AnnData, folder: Path) -> AtlasEntry:
    """Write cells of the Kang donors (obs: cell, stim, ind) to `folder` and describe them as an atlas."""
    folder.mkdir(parents=True, exist_ok=True)
    cells.write_h5ad(folder / "atlas.h5ad")
    columns = {"cell_type": "cell", "perturbation": "stim", "donor": "ind"}
    return AtlasEntry.model_validate(
        {
            "path": str(folder / "atlas.h5ad"),
            "obs": {key: name for key, name in columns.items() if name in cells.obs},
            "control_labels": ["ctrl"],
            "perturbation_names": {"stim": "IFN-beta"},
            "perturbation_type": "cytokine",
            "read_counts": True,
        }
    )


def planted(data: Path, work: Path, kind: str) -> dict[str, Any]:
    """All cases; each is kept in `work` and not run again."""
    from haystack.grounding import ground

    ground.null_composites = lambda *_: ({}, [])  # nulls take most of the time and change no value
    rows = []
    for case in cases(data / "kang_donors.h5ad"):
        path = work / kind / f"{case.name.replace(' ', '_').replace('+', '')}.json"
        if not path.exists():
            row = run_case(case, path.with_suffix(""), kind)
            path.write_text(json.dumps(row))
        rows.append(json.loads(path.read_text()))
    pair = [row for row in rows if "pair" in row["kind"]]
    wrong = [row for row in rows if row["kind"] in ("null", "sham", "null pair")]
    return {
        "nulls_and_shams": len(wrong),
        "at_7": [row["case"] for row in wrong if row["value"] >= 7],
        "above_low": [row["case"] for row in wrong if row["confidence"] != "low"],
        "unnamed": [row["case"] for row in wrong if not row["capped_by"]],
        "real_below_medium": [row["case"] for row in rows if row["kind"] == "real" and row["confidence"] == "low"],
        "lowest_real": min(row["value"] for row in rows if row["kind"] == "real"),
        "highest_null": max(row["value"] for row in wrong),
        "auroc": _auroc([row for row in rows if row not in pair]),
        "auroc_pair_by_pair": _auroc(pair),
        "rows": rows,
    }


def _auroc(rows: list[dict[str, Any]]) -> float:
    from sklearn.metrics import roc_auc_score

    return round(float(roc_auc_score(["real" in row["kind"] for row in rows], [row["value"] for row in rows])), 3)


def _as_treated(control: ad.AnnData, treated: Any) -> ad.AnnData:
    """Untreated cells, those of the mask called treated."""
    cells = control.copy()
    cells.obs["stim"] = np.where(np.asarray(treated, dtype=bool), "stim", "ctrl")
    return cells


def _stressed(cells: ad.AnnData) -> ad.AnnData:
    """Dissociation genes of treated cells times four."""
    from haystack.grounding.arms import programmes

    dense = sparse.csr_matrix(cells.X).toarray()
    genes = np.isin(cells.var_names, list(programmes()["dissociation"]))
    dense[np.ix_((cells.obs["stim"] == "stim").to_numpy(), genes)] *= 4
    cells.X = sparse.csr_matrix(dense)
    return cells


def _shallow(cells: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Counts of treated cells thinned to two fifths."""
    dense = sparse.csr_matrix(cells.X).toarray()
    rows = (cells.obs["stim"] == "stim").to_numpy()
    dense[rows] = rng.binomial(dense[rows].astype(int), 0.4)
    cells.X = sparse.csr_matrix(dense)
    return cells
