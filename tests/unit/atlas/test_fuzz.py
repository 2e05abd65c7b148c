"""Files of every make: accepted with exactly the true counts, or refused in one message that says what helps.

A file is drawn by its structure: form and type of the matrix, where the counts are, how labels are stored, which other
features, species and names it holds. What must come of it follows from what was drawn, not from how files are read.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from scipy import sparse

from haystack.atlas import check_atlas, harmonize_atlas, read_rows
from haystack.config import AtlasEntry
from haystack.contracts.tables import CELLS, read_table
from haystack.errors import HaystackError

GENES = [
    "ACTB",
    "CD3D",
    "CD4",
    "CXCL8",
    "GNLY",
    "HLA-DRA",
    "IFIT1",
    "IRF1",
    "ISG15",
    "LYZ",
    "MS4A1",
    "MX1",
    "NKG7",
    "STAT1",
]
IDS = [f"ENSG{i:011d}" for i in range(len(GENES))]
RENAMED = {"CXCL8": "IL8", "HLA-DRA": "HLA.DRA"}
CONTROLS = {
    "listed": ("ctrl", ["ctrl"]),
    "pattern": ("NT_7", ["nt_*"]),
    "missing": (None, ["nan"]),
    "number": (0, [0]),
    "boolean": (False, [False]),
    "unlisted": ("untreated", ["ctrl"]),
    "absent": ("IL-6", ["PBS"]),
}


def mostly(plain: Any, *odd: Any) -> st.SearchStrategy:
    """The plain value in two of three files."""
    return st.sampled_from([plain] * (2 * len(odd)) + list(odd))


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """What a file is like."""
    return {
        "n": draw(st.sampled_from([1, 2, 40, 90])),
        "seed": draw(st.integers(0, 2**16)),
        "store": draw(st.sampled_from(["h5ad", "h5ad_gzip", "zarr2", "zarr3", "zip"])),
        "form": draw(st.sampled_from(["csr", "csc", "dense"])),
        "dtype": draw(mostly("f4", "f8", "i4", "i8", "u1", "u2", "f2", "?")),
        "values": draw(mostly("counts", "cp10k", "log", "rounded", "scaled", "expected", "nan")),
        "place": draw(mostly("X", "raw", "layer")),
        "counts": draw(mostly("raw", "expected")),
        "names": draw(mostly("symbols", "ids", "renamed", "peaks", "mouse", "zebrafish", "entrez")),
        "extra": draw(mostly(None, "antibody", "virus", "ercc", "rhesus")),
        "organism": draw(mostly(None, "human", "NCBITaxon:9606", "mouse", "mixed")),
        "where": draw(st.sampled_from(["obs", "uns"])),
        "control": draw(mostly("listed", *sorted(set(CONTROLS) - {"listed"}))),
        "labels": draw(st.sampled_from(["category", "plain", "nullable"])),
        "missing_types": draw(st.booleans()),
        "repeated": draw(st.booleans()),
    }


def matrix(plan: dict[str, Any], n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """The counts, and the values as they are stored."""
    rng = np.random.default_rng(plan["seed"])
    counts = rng.poisson(rng.gamma(2, 1, n_features) * rng.uniform(0.5, 2, (plan["n"], 1))).astype(np.float64)
    counts[:, 0] += 1
    cp10k = counts / counts.sum(axis=1, keepdims=True) * 1e4
    stored = {
        "counts": counts,
        "cp10k": cp10k,
        "log": np.log1p(cp10k),
        "rounded": np.rint(cp10k),
        "scaled": counts - counts.mean() - 0.1,
        "expected": counts * np.where(rng.random(counts.shape) < 0.2, 0.7, 1),
        "nan": np.where(rng.random(counts.shape) < 0.3, np.nan, counts),
    }[plan["values"]]
    return counts, stored


def build(plan: dict[str, Any], folder: Path) -> tuple[AtlasEntry, np.ndarray, np.ndarray]:
    """Write the file; its entry, its stored values, and which features are human genes."""
    names = {
        "symbols": GENES,
        "ids": IDS,
        "renamed": [RENAMED.get(gene, gene) for gene in GENES],
        "peaks": [f"chr{i + 1}:100-900" for i in range(len(GENES))],
        "mouse": [gene.title() for gene in GENES],
        "zebrafish": [gene.lower() for gene in GENES],
        "entrez": [str(100 + i) for i in range(len(GENES))],
    }[plan["names"]]
    extra = {"antibody": "CD4", "virus": "ENSSASG00005000004", "ercc": "ERCC-00002", "rhesus": "ENSMMUG00000000001"}
    names = [*names, extra[plan["extra"]]] if plan["extra"] else list(names)
    var = pd.DataFrame({"symbol": [*GENES, *names[len(GENES) :]]}, index=pd.Index(names, dtype=object))
    if plan["extra"] == "antibody":
        var["feature_types"] = ["Gene Expression"] * len(GENES) + ["Antibody Capture"]
    _, stored = matrix(plan, len(names))
    n = plan["n"]
    label, listed = CONTROLS[plan["control"]]
    other = {"number": 1, "boolean": True}.get(plan["control"], "IFN-beta")
    treatment = pd.Series([label if i % 2 == 0 else other for i in range(n)], index=[f"c{i}" for i in range(n)])
    types = pd.Series(["B cell", "T cell", None if plan["missing_types"] else "NK cell"] * n)[:n].set_axis(
        treatment.index
    )
    obs = pd.DataFrame({"ct": types, "stim": treatment})
    if plan["repeated"] and n > 1:
        obs.index = ["c0", *obs.index[:-1]]
    for column in obs:
        if obs[column].dtype == object and plan["labels"] != "plain":
            obs[column] = obs[column].astype("category" if plan["labels"] == "category" else "string")
        elif obs[column].isna().any():
            obs[column] = obs[column].astype("category")
    uns = {}
    if plan["organism"] and (plan["where"] == "obs" or plan["organism"] == "mixed"):
        obs["organism"] = (
            ["human", "mouse"] * (n // 2) + ["human"] * (n % 2) if plan["organism"] == "mixed" else plan["organism"]
        )
    elif plan["organism"]:
        uns["organism"] = plan["organism"]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = stored.astype(plan["dtype"])
    sparse_form = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}.get(plan["form"])
    X = values if sparse_form is None or plan["dtype"] == "f2" else sparse_form(values)
    shown = X if plan["place"] == "X" else np.log1p(np.abs(np.nan_to_num(stored))).astype("f4")
    data = ad.AnnData(shown, obs=obs, var=var, uns=uns)
    if plan["place"] == "raw":
        data.raw = ad.AnnData(X, obs=obs, var=var)
    elif plan["place"] == "layer":
        data.layers["counts"] = X
    path = write(data, plan, folder)
    entry = {
        "path": str(path),
        "obs": {"cell_type": "ct", "perturbation": "stim"},
        "control_labels": listed,
        "perturbation_type": "cytokine",
        "counts_layer": {"X": "X", "raw": "raw", "layer": "counts"}[plan["place"]],
        "counts": plan["counts"],
        "gene_symbols": "symbol" if plan["names"] == "ids" else None,
        "read_counts": True,
    }
    human = np.array([True] * len(GENES) + [False] * (len(names) - len(GENES)))
    return AtlasEntry.model_validate(entry), values.astype(np.float64), human


def write(data: ad.AnnData, plan: dict[str, Any], folder: Path) -> Path:
    with warnings.catch_warnings(), ad.settings.override(allow_write_nullable_strings=True):
        warnings.simplefilter("ignore")
        if plan["store"].startswith("h5ad"):
            path = folder / "x.h5ad"
            data.write_h5ad(
                path, compression="gzip" if "gzip" in plan["store"] else None, convert_strings_to_categoricals=False
            )
            return path
        with ad.settings.override(zarr_write_format=3 if plan["store"] == "zarr3" else 2):
            data.write_zarr(folder / "x.zarr", convert_strings_to_categoricals=False)
        if plan["store"] != "zip":
            return folder / "x.zarr"
        return Path(shutil.make_archive(str(folder / "x.zarr"), "zip", folder / "x.zarr"))


def must_be_refused(plan: dict[str, Any], values: np.ndarray) -> bool:
    """Whether what was drawn can be no atlas of counts of human cells; small files may not show it."""
    fractions = np.isfinite(values).all() and (values % 1 != 0).any() and plan["counts"] == "raw"
    return (
        plan["names"] in {"peaks", "mouse", "entrez"}
        or (plan["names"] == "zebrafish" and plan["organism"] not in {"human", "NCBITaxon:9606", "mixed"})
        or plan["organism"] == "mouse"
        or plan["control"] == "absent"
        or (plan["control"] == "unlisted")
        or plan["dtype"] == "?"
        or not np.isfinite(values).all()
        or bool((values < 0).any())
        or bool(fractions)
        or (plan["values"] in {"cp10k", "log"} and plan["n"] >= 40 and plan["dtype"] in {"f4", "f8"})
        or (plan["values"] == "rounded" and plan["n"] >= 40 and plan["dtype"] in {"f4", "f8", "i4", "i8", "u2"})
    )


def try_file(plan: dict[str, Any]) -> str:
    """Take one file through the check, the index and the reading of rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entry, values, human = build(plan, folder)
        try:
            check_atlas("mine", entry)
            harmonize_atlas("mine", entry, folder / "c.parquet", folder / "m.tsv", folder / "intake.json")
            found = read_rows(entry, range(plan["n"]), "mine")
        except HaystackError as error:
            message = str(error)
            assert "mine" in message, message
            assert entry.path in message, message
            assert len(message) > len(entry.path) + 40, message
            assert not looks_right(plan, values), (plan, message)
            return "refused"
        assert not must_be_refused(plan, values), plan
        expected = values[:, human]
        if plan["counts"] == "expected":
            expected = np.rint(expected.astype("f4"))
        assert list(found.var_names) == GENES
        np.testing.assert_array_equal(found.X.toarray(), expected)
        cells = read_table(folder / "c.parquet", CELLS)
        indexed = [i for i in range(plan["n"]) if plan["organism"] != "mixed" or i % 2 == 0]
        assert cells["row"].tolist() == indexed
        assert cells["is_control"].tolist() == [i % 2 == 0 for i in indexed]
        np.testing.assert_array_equal(cells["total_counts"], expected.sum(axis=1)[indexed])
        np.testing.assert_array_equal(cells["n_genes"], (expected > 0).sum(axis=1)[indexed])
        return "accepted"


def looks_right(plan: dict[str, Any], values: np.ndarray) -> bool:
    """A file that nobody may refuse: plain counts of human genes with listed controls."""
    return (
        plan["values"] == "counts"
        and plan["n"] >= 2
        and plan["dtype"] not in {"?", "u1"}
        and plan["counts"] == "raw"
        and not must_be_refused(plan, values)
        and (plan["n"] >= 40 or plan["organism"] != "mixed")
    )


FUZZ = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@seed(17)
@settings(max_examples=20, **FUZZ)
@given(files())
def test_a_few_files_of_every_make(plan):
    try_file(plan)


@pytest.mark.nightly
@seed(18)
@settings(max_examples=2_500, **FUZZ)
@given(files())
def test_many_files_of_every_make(plan):
    try_file(plan)
