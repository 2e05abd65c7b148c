"""A drug in mixed tumours, made of real Kang cells: patients as contexts, large shifts, no fitting gene list.

Part of benchmarks/grounding.py (`tumour`). Cells of kang_ifnb.h5ad are dealt to five patients as one label ("malignant
cell"). Patients differ in the mix of types, which also differs between the arms of a patient, and gene by gene; the
drug is IFN-beta at half strength under the name of panobinostat, whose expected genes do not fit. Questions ask for a
patient: with four treated patients and their controls, with one, and with untreated cells of one patient called treated
and of another called control. Even seeds were looked at during development; odd seeds report.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from grounding_pipeline import accuracies, index_atlases, run_loop
from haystack.config import AtlasEntry, Settings

PATIENTS = tuple("ABCDE")
SHIFT = 0.6
"""sd of a patient's log2 offset per gene"""
MIX = 3.0
"""concentration of the mix of types: of a patient around the mean, and ten times that of an arm around its patient"""
CELLS = 200
"""per patient and arm"""
STRENGTH = 0.5
"""share of a treated cell's counts that are of a treated cell"""


@dataclass(frozen=True)
class Case:
    """Contexts (treated, control patient) that the atlas shows, and the patient asked for."""

    kind: str
    shown: tuple[tuple[str, str], ...]
    asked: str
    real: bool

    @property
    def name(self) -> str:
        """For folders and tables."""
        return f"{self.kind} {' '.join(a + b for a, b in self.shown)} for {self.asked}"


def cases() -> list[Case]:
    """Four patients and one, really treated; one and two pairs of untreated patients."""
    found = []
    for asked in PATIENTS:
        others = [one for one in PATIENTS if one != asked]
        found.append(Case("real four", tuple((one, one) for one in others), asked, real=True))
        found += [Case("real pair", ((one, one),), asked, real=True) for one in others[:3]]
        pairs = list(permutations(others, 2))
        found += [Case("null pair", (pair,), asked, real=False) for pair in pairs[:: len(pairs) // 3][:3]]
        found.append(Case("null pairs", ((others[0], others[1]), (others[2], others[3])), asked, real=False))
    return found


def patients(data: Path, seed: int) -> dict[tuple[str, str], ad.AnnData]:
    """Raw counts of each patient and arm (stim, ctrl)."""
    whole = ad.read_h5ad(data / "kang_ifnb.h5ad")
    whole.var_names = whole.var_names.str.upper()
    whole = whole[:, ~whole.var_names.duplicated()].copy()
    rng = np.random.default_rng(seed)
    arm = np.where(whole.obs["stim"] == "ctrl", "ctrl", "stim")
    kinds = whole.obs["cell_type"].astype(str).to_numpy()
    names, size = np.unique(kinds, return_counts=True)
    keep = size >= 100
    names, mean = names[keep], size[keep] / size[keep].sum()
    found = {}
    for patient in PATIENTS:
        offset = np.exp2(rng.normal(0, SHIFT, whole.n_vars))
        own = rng.dirichlet(MIX * len(mean) * mean)
        for which in ("stim", "ctrl"):
            mix = rng.multinomial(CELLS, rng.dirichlet(10 * MIX * len(mean) * own + 0.01))
            counts = []
            for name, n in zip(names, mix, strict=True):
                pool = {one: np.flatnonzero((kinds == name) & (arm == one)) for one in ("stim", "ctrl")}
                calm = _dense(whole, rng.choice(pool["ctrl"], n))
                if which == "stim":
                    calm = rng.binomial(calm, 1 - STRENGTH)
                    calm = calm + rng.binomial(_dense(whole, rng.choice(pool["stim"], n)), STRENGTH)
                counts.append(rng.poisson(calm * offset))
            cells = ad.AnnData(sparse.csr_matrix(np.vstack(counts).astype(np.float32)), var=whole.var[[]].copy())
            cells.obs = pd.DataFrame({"patient": patient, "cell": "malignant cell"}, index=cells.obs_names)
            found[patient, which] = cells
    return found


def _dense(cells: ad.AnnData, rows: np.ndarray) -> np.ndarray:
    return sparse.csr_matrix(cells.X[rows]).toarray().astype(int)


def run_case(case: Case, cells: dict[tuple[str, str], ad.AnnData], folder: Path, kind: str) -> dict[str, Any]:
    """One question through the pipeline's first iteration."""
    parts = [(cells[case.asked, "ctrl"], "ctrl")]
    for treated, control in case.shown:
        parts += [(cells[treated, "stim" if case.real else "ctrl"], "drug"), (cells[control, "ctrl"], "ctrl")]
    atlas = ad.concat([part for part, _ in parts])
    atlas.obs["drug"] = np.repeat([name for _, name in parts], [part.n_obs for part, _ in parts])
    atlas.obs_names = [f"c{i}" for i in range(atlas.n_obs)]
    folder.mkdir(parents=True, exist_ok=True)
    atlas.write_h5ad(folder / "atlas.h5ad")
    entry = AtlasEntry.model_validate(
        {
            "path": str(folder / "atlas.h5ad"),
            "obs": {"cell_type": "cell", "perturbation": "drug", "donor": "patient"},
            "control_labels": ["ctrl"],
            "perturbation_names": {"drug": "panobinostat"},
            "perturbation_type": "drug",
            "read_counts": True,
        }
    )
    settings = Settings.model_validate({"model": {"kind": kind}, "max_iterations": 1})
    text = f"How would malignant cells of patient {case.asked} respond to panobinostat?"
    found = run_loop(text, index_atlases({"tumours": entry}, folder), settings, folder)[0]
    best = next(item for item in found.prompts if item.prompt_id == found.best_prompt_id)
    levels = [np.log2(_cp10k(cells[case.asked, which]) + 1) for which in ("stim", "ctrl")]
    truth = pd.Series(levels[0] - levels[1], index=list(atlas.var_names))
    return {
        "case": case.name,
        "kind": case.kind,
        "real": case.real,
        "value": best.composite_value,
        "confidence": best.confidence,
        "verdict": best.verdict,
        "expected_r": best.expected_r,
        "estimate": found.accuracy.r if found.accuracy else None,
        "accuracy": accuracies(folder / "iter_1", truth)[best.prompt_id],
        "capping": {item.name: item.value for item in best.findings if item.cap != "high"},
    }


def _cp10k(cells: ad.AnnData) -> np.ndarray:
    counts = np.asarray(cells.X.sum(axis=1)).ravel()
    return np.asarray(cells.X.multiply(1e4 / counts[:, None]).mean(axis=0)).ravel()


def tumour(data: Path, work: Path, kind: str, seed: int) -> dict[str, Any]:
    """All cases of one seed; each is kept in `work` and not run again."""
    from sklearn.metrics import roc_auc_score

    from haystack.grounding import ground

    ground.null_composites = lambda *_: ({}, [])  # nulls take most of the time and change no value
    cells = patients(data, seed)
    rows = []
    for case in cases():
        path = work / kind / f"{seed}_{case.name.replace(' ', '_')}.json"
        if not path.exists():
            row = run_case(case, cells, path.with_suffix(""), kind)
            path.write_text(json.dumps(row))
        rows.append(json.loads(path.read_text()))
    table = pd.DataFrame(rows)
    wrong, four = table[~table["real"]], table[table["kind"] == "real four"]
    pairs = table[table["kind"].isin(["real pair", "null pair"])]
    whole = table[table["kind"] != "real pair"]
    return {
        "nulls": len(wrong),
        "nulls_at_7": wrong.loc[wrong["value"] >= 7, "case"].tolist(),
        "nulls_above_low": wrong.loc[wrong["confidence"] != "low", "case"].tolist(),
        "four_donors": four["confidence"].value_counts().to_dict(),
        "lowest_of_four_donors": float(four["value"].min()),
        "auroc": round(float(roc_auc_score(whole["real"], whole["value"])), 3),
        "auroc_pairs": round(float(roc_auc_score(pairs["real"], pairs["value"])), 3),
        "mean_r": table.groupby("kind")["accuracy"].mean().round(3).to_dict(),
        "rows": rows,
    }
