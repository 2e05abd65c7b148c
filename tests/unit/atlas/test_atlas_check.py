"""What is wrong with an atlas is said before work starts, by name, with a way out; the others go on."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.atlas import check_atlas, read_rows, usable_atlases
from haystack.errors import AtlasError


def refused(entry, match: str, genes: set[str] | None = None) -> None:
    with pytest.raises(AtlasError, match=match) as caught:
        check_atlas("mine", entry, genes)
    assert "mine" in str(caught.value)
    assert entry.path in str(caught.value)


def test_a_good_atlas_passes(atlas):
    check_atlas("mine", atlas(), {"MX1", "TP53"})


def test_missing_file_suggests_its_neighbour(atlas, make_entry, tmp_path: Path):
    atlas(name="kang_ifnb")
    refused(make_entry(tmp_path / "kang_infb.h5ad"), "no such file. Did you mean 'kang_ifnb.h5ad'")
    refused(make_entry(tmp_path / "nowhere" / "a.h5ad"), "nowhere does not exist either")
    refused(
        make_entry(tmp_path / "a.h5ad", url="https://example.org/a.h5ad"), "Fetch it from https://example.org/a.h5ad"
    )


def test_missing_column_lists_and_suggests(atlas):
    obs = {"cell_type": "celltype", "donor": "patient"}
    refused(atlas(obs=obs), r"no column 'celltype', which obs.cell_type .*'cell_type'.*cell_type, patient, treatment")
    refused(atlas(gene_symbols="symbols"), r"var has no column 'symbols', which gene_symbols .*'symbol'")


def test_control_labels_that_no_cell_has(atlas):
    refused(atlas(control_labels=["DMSO"]), r"no cell of column 'treatment' has a control label \(DMSO\).*IL-6, PBS")
    check_atlas("mine", atlas(control_labels=["pbs "]))


@pytest.mark.parametrize("keep", [300, 4_000, 0.5, 0.99])
def test_truncated_file(atlas, keep: float):
    entry = atlas()
    path = Path(entry.path)
    body = path.read_bytes()
    path.write_bytes(body[: int(keep * len(body)) if keep < 1 else keep])
    refused(entry, r"truncated file: it holds [\d,]+ of [\d,]+ bytes\. Copy or download it again")


def test_files_that_are_no_atlas(make_entry, tmp_path: Path):
    path = tmp_path / "a.h5ad"
    path.write_text("<html>404</html>")
    refused(make_entry(path), r"is not an HDF5 \(h5ad\) file \(16 bytes\)")
    with h5py.File(path, "w") as file:
        file["matrix"] = np.zeros((3, 3))
    refused(make_entry(path), r"has no obs; it is no AnnData file \(found matrix\)")
    (tmp_path / "a.zarr").mkdir()
    refused(make_entry(tmp_path / "a.zarr"), "is a folder but no zarr store")


def test_damaged_bytes_are_the_file_s_fault(atlas):
    entry = atlas()
    with h5py.File(entry.path, "r+") as file:
        del file["obs/cell_type/categories"]
    refused(entry, "damaged or of unknown form")
    entry = atlas()
    with h5py.File(entry.path, "r+") as file:
        codes = file["obs/patient/codes"][:50]
        del file["obs/patient/codes"]
        file["obs/patient/codes"] = codes
    refused(entry, "obs column 'patient' has 50 rows, obs 90")


def test_our_own_mistakes_are_not_blamed_on_the_file(atlas, monkeypatch):
    monkeypatch.setattr("haystack.atlas.check.find_matrix", lambda *_: {}["mistake"])
    with pytest.raises(KeyError, match="mistake"):
        check_atlas("mine", atlas())


def test_normalised_values(cells, atlas):
    data = cells.copy()
    data.X = sparse.csr_matrix(np.log1p(cells.X.toarray() / 3))
    refused(
        atlas(data), r"X does not hold raw counts.*100\.0% of the values are not whole.*largest value.*log-normalised"
    )
    data.layers["counts"] = cells.X
    refused(atlas(data), r"counts does hold counts: set counts_layer: counts")
    check_atlas("mine", atlas(data, counts_layer="counts"))


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_scaled_values(cells, atlas, form: str):
    values = cells.X.toarray() - 1
    data = ad.AnnData(
        {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}[form](values), cells.obs
    )
    data.var = cells.var
    refused(atlas(data), r"of the values are negative.*it looks scaled")
    data.X = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}[form](values * np.nan)
    refused(atlas(data), "not finite")


def test_no_counts_at_all(cells, atlas):
    cells.X = sparse.csr_matrix(cells.shape, dtype=np.float32)
    refused(atlas(cells), "all values .* are zero")


def test_absent_and_misshapen_matrices(atlas):
    refused(atlas(counts_layer="counts"), "has no layers/counts, which counts_layer .* It has X")
    entry = atlas()
    with h5py.File(entry.path, "r+") as file:
        file["X"].attrs["shape"] = [89, 13]
    refused(entry, "X is 89 x 13, but obs has 90 rows and var 13")
    with h5py.File(entry.path, "r+") as file:
        file["X"].attrs["shape"] = [90, 13]
        file["X/indptr"][-1] = 10**6
    refused(entry, "indptr, indices and data do not fit")


def test_empty_atlas(cells, atlas):
    refused(atlas(cells[:0].copy()), "is empty: 0 cells x 13 genes")


def test_ensembl_names_without_symbols(atlas):
    refused(
        atlas(gene_symbols=None),
        r"var names are Ensembl ids \(such as ENSG00000000000\).*Did you mean 'symbol'|Known: symbol",
    )


def test_genes_of_another_world(atlas):
    refused(atlas(), "shares no gene with the model", {"TP53", "MDM2"})


def with_symbols(cells: ad.AnnData, symbols: list[str]) -> ad.AnnData:
    return ad.AnnData(cells.X[:, : len(symbols)].copy(), cells.obs, pd.DataFrame({"symbol": symbols}, index=symbols))


@pytest.mark.parametrize(
    ("symbols", "match"),
    [
        (["GRCh38_CD3D", "GRCh38_LYZ", "mm10_Cd3d", "mm10_Lyz2"], "mixes species: gene names begin with GRCh38, mm10"),
        (["ENSG00000167286", "ENSG00000090382", "ENSMUSG00000032094"], r"mixes species: Ensembl ids.*ENSMUSG"),
        (["CD3D", "LYZ", "ACTB", "GAPDH", "Cd3d", "Lyz", "Actb", "Gapdh"], r"mixes species: 4 genes spelt as in mouse"),
        (["Cd3d", "Lyz2", "Actb", "Gapdh", "Ifit1"], r"does not hold human genes \(found Actb, spelt as in mouse"),
    ],
)
def test_species(cells, atlas, symbols: list[str], match: str):
    refused(atlas(with_symbols(cells, symbols)), match)


@pytest.mark.parametrize(
    "symbols",
    [
        ["GRCh38_CD3D", "GRCh38_LYZ", "GRCh38_MX1"],
        [f"Gene{i}" for i in range(13)],
        [f"gene_{i}" for i in range(13)],
        ["C1orf112", "C9orf72", "CD3D", "HLA-DRA", "MT-CO1", "hsa-mir-21", "RP11-34P13.7"],
    ],
)
def test_human_and_made_up_genes_pass(cells, atlas, symbols: list[str]):
    check_atlas("mine", atlas(with_symbols(cells, symbols)))


def test_mapping_file_that_is_absent(atlas):
    refused(atlas(mapping="nowhere.tsv"), "mapping nowhere.tsv does not exist")


def test_the_others_go_on(atlas, make_entry, tmp_path: Path):
    good, bad = usable_atlases({"a": atlas(), "b": make_entry(tmp_path / "b.h5ad"), "c": atlas(name="c")})
    assert list(good) == ["a", "c"]
    assert list(bad) == ["b"]
    assert "no such file" in str(bad["b"])


def test_a_check_reads_little(cells, atlas, monkeypatch):
    """Of a large matrix, only the sampled rows are read."""
    big = ad.concat([cells] * 200, index_unique="-")
    big.var = cells.var
    entry = atlas(big)
    read = []
    original = h5py.Dataset.__getitem__

    def counting(self, key, *args, **kwargs):
        found = original(self, key, *args, **kwargs)
        if self.name in {"/X/data", "/X/indices"}:
            read.append(np.size(found))
        return found

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counting)
    check_atlas("mine", entry)
    assert 0 < sum(read) < big.X.nnz / 20


def test_remote_atlas_that_is_not_there(make_entry, web):
    for name in ("a.h5ad", "a.zarr"):
        refused(make_entry(f"{web.url}/{name}"), r"cannot be read: .* Check the address, the network and your rights")


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_spoilt_bytes_never_give_a_stack_trace(cells, make_entry, tmp_path: Path, compression):
    """Whatever byte of a file is wrong, it is read all the same or refused by an AtlasError."""
    path = tmp_path / "a.h5ad"
    cells.write_h5ad(path, compression=compression)
    body, entry = path.read_bytes(), make_entry(path)
    rng = np.random.default_rng(8)
    errors = 0
    for _ in range(15):
        spoilt = bytearray(body)
        for at in rng.integers(0, len(body), 3):
            spoilt[at] = rng.integers(256)
        path.write_bytes(spoilt)
        for call in (lambda: check_atlas("mine", entry), lambda: read_rows(entry, [1, 5, 80])):
            try:
                call()
            except AtlasError:
                errors += 1
    assert 2 <= errors < 30
