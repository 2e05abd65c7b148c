"""Counts are told from what only looks like counts: scaled and rounded values, presence, logs; estimates by request."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.atlas import check_atlas, read_rows
from haystack.config import AtlasEntry
from haystack.errors import AtlasError

rng = np.random.default_rng(5)
RATES = rng.gamma(0.6, 1.0, 300)
COUNTS = rng.poisson(RATES * rng.uniform(0.5, 3, (80, 1))).astype(np.float64)
DEEP = rng.poisson(10 * RATES * np.repeat(rng.uniform(0.5, 3, (80, 2)), (260, 40), axis=1)).astype(np.float64)
"""the last 40 features, antibodies, have a depth of their own"""
CP10K = COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1e4


def entry(tmp_path, values: np.ndarray, form: str = "csr", **changes: object) -> AtlasEntry:
    make = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}[form]
    obs = pd.DataFrame({"ct": ["B cell"] * len(values)}, index=[f"c{i}" for i in range(len(values))])
    data = ad.AnnData(make(values), obs=obs, var=pd.DataFrame(index=[f"Gene{i}" for i in range(values.shape[1])]))
    data.write_h5ad(tmp_path / "x.h5ad")
    return AtlasEntry.model_validate({"path": str(tmp_path / "x.h5ad"), "obs": {"cell_type": "ct"}, **changes})


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.rint(CP10K), "sum to about 10,"),
        (np.rint(CP10K)[:, :150], "counts would have ones"),
        (np.rint(CP10K * 100), "scaled to one total"),
        (COUNTS > 0, "true and false"),
        ((COUNTS > 0).astype("f4"), "all values are 0 or 1"),
        (np.log1p(CP10K), "log-normalised"),
        (CP10K, "normalised or corrected"),
        (COUNTS * 2.0**30, "more than a cell can have"),
        (np.rint(np.log1p(DEEP)), "vary less between cells than counts"),
        (np.rint(np.sqrt(DEEP)), "vary less between cells than counts"),
    ],
)
def test_whole_numbers_that_are_no_counts(tmp_path, form: str, values: np.ndarray, why: str):
    if form == "dense" or values.dtype != bool or form == "csr":
        with pytest.raises(AtlasError, match=f"does not hold raw counts.*{why}"):
            check_atlas("mine", entry(tmp_path, values, form))


def downsampled(total: int) -> np.ndarray:
    """Counts of equal depth, as scanpy.pp.downsample_counts draws them: still counts."""
    return np.array([rng.multivariate_hypergeometric(row.astype(int), total) for row in COUNTS])


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8", "u1", "f2", "u2"])
@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_counts_of_every_type_are_read_as_they_are(tmp_path, form: str, dtype: str):
    if dtype == "f2" and form != "dense":
        pytest.skip("scipy cannot make it")
    made = entry(tmp_path, COUNTS.astype(dtype), form)
    check_atlas("mine", made)
    np.testing.assert_array_equal(read_rows(made, range(80)).X.toarray(), COUNTS)


def test_counts_of_equal_depth_pass(tmp_path):
    check_atlas("mine", entry(tmp_path, downsampled(int(COUNTS.sum(axis=1).min()))))


def test_float16_that_has_lost_counts(tmp_path):
    values = COUNTS.copy()
    values[3, 4] = 4096
    with pytest.raises(AtlasError, match=r"float16.*above 2,048.*counts are lost"):
        read_rows(entry(tmp_path, values.astype("f2"), "dense"), [3])


@pytest.mark.parametrize(
    "values",
    [
        COUNTS * np.where(rng.random(COUNTS.shape) < 0.2, 0.66, 1),  # alevin, RSEM: some genes share reads
        COUNTS * rng.uniform(0.85, 0.99, (1, 300)),  # SoupX: all values shrink
    ],
)
def test_expected_counts_by_request(tmp_path, values: np.ndarray):
    with pytest.raises(AtlasError, match=r"not whole numbers.*counts: expected"):
        check_atlas("mine", entry(tmp_path, values))
    made = entry(tmp_path, values, counts="expected")
    check_atlas("mine", made)
    np.testing.assert_array_equal(read_rows(made, range(80)).X.toarray(), np.rint(values.astype("f4")))


@pytest.mark.parametrize(
    "values",
    [
        *(np.log1p(CP10K), CP10K, COUNTS - 1.5),
        *(np.log1p(CP10K)[:, :150], np.log2(CP10K + 1), CP10K[:, :150], np.log1p(DEEP)),  # no equal sums
    ],
)
def test_normalised_values_are_no_expected_counts(tmp_path, values: np.ndarray):
    with pytest.raises(AtlasError, match="does not hold raw counts"):
        check_atlas("mine", entry(tmp_path, values, counts="expected"))


def test_a_large_matrix_stored_by_gene_is_refused_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr("haystack.atlas.matrix.CSC_LIMIT", 100)
    with pytest.raises(AtlasError, match=r"csc_matrix.*haystack atlas to-zarr .*x\.h5ad .*x_rows\.zarr"):
        check_atlas("mine", entry(tmp_path, COUNTS, "csc"))


def with_antibodies(tmp_path, values: np.ndarray, **changes: object) -> AtlasEntry:
    """The last 40 features are antibodies."""
    mine = entry(tmp_path, values, **changes)
    data = ad.read_h5ad(tmp_path / "x.h5ad")
    data.var["feature_types"] = ["Gene Expression"] * 260 + ["Antibody Capture"] * 40
    data.write_h5ad(tmp_path / "x.h5ad")
    return mine


@pytest.mark.parametrize(
    ("values", "counts", "why"),
    [
        (np.rint(DEEP / DEEP.sum(axis=1, keepdims=True) * DEEP.sum(axis=1).mean()), "raw", "scaled to one total"),
        (CP10K, "expected", "scaled to one total"),
        (np.log1p(CP10K), "expected", "log-normalised"),
    ],
)
def test_one_total_over_genes_and_antibodies_is_seen(tmp_path, values: np.ndarray, counts: str, why: str):
    with pytest.raises(AtlasError, match=f"does not hold raw counts.*{why}"):
        check_atlas("mine", with_antibodies(tmp_path, values, counts=counts))


def test_counts_of_equal_depth_over_genes_and_antibodies_pass(tmp_path):
    check_atlas("mine", with_antibodies(tmp_path, downsampled(int(COUNTS.sum(axis=1).min()))))


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("part", ["data", "indices"])
def test_a_lost_chunk_is_not_read_as_zeros(tmp_path, zarr_format: int, part: str):
    path = Path(entry(tmp_path, COUNTS).path).with_suffix(".zarr")
    with ad.settings.override(zarr_write_format=zarr_format):
        ad.read_h5ad(tmp_path / "x.h5ad").write_zarr(path)
    made = AtlasEntry.model_validate({"path": str(path), "obs": {"cell_type": "ct"}})
    check_atlas("mine", made)
    chunk = max(file for file in (path / "X" / part).rglob("*") if file.is_file() and file.name.isdigit())
    chunk.unlink()
    with pytest.raises(AtlasError, match=f"X/{part} lacks 1 of . chunks"):
        check_atlas("mine", made)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (COUNTS, None),
        (np.where(np.arange(80)[:, None] % 4, COUNTS, 0), "25% of 80 sampled cells have no counts"),
        (DEEP * 100 + COUNTS, "reads rather than molecules, or rows that are pools"),
        (np.minimum(DEEP * 3 + COUNTS, 255).astype("u1"), "stored as uint8 and reaches 255"),
        (COUNTS.astype("u1"), None),
    ],
)
def test_what_is_odd_about_counts_is_said(tmp_path, values: np.ndarray, why: str | None):
    found = check_atlas("mine", entry(tmp_path, values))
    assert (why in " ".join(found)) if why else not found
