"""Labels that names do not tell: clusters and short forms get their types from markers, or from the tissue."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.atlas import harmonize_atlas
from haystack.atlas.columns import count_labels, n_rows, read_labels
from haystack.atlas.markers import types_by_markers
from haystack.atlas.store import open_atlas
from haystack.config import AtlasEntry
from haystack.knowledge.signatures import markers
from haystack.ontology import ancestors, resolve

DATA = Path(os.environ.get("HAYSTACK_DATA", Path(__file__).parents[4] / "shared" / "data"))
TYPES = {"0": "CL:0000236", "cluster 1": "CL:0000182", "c2": "CL:0000148", "PC": "CL:0000786", "doublets": "CL:0000540"}
"""label -> what its cells express"""


def _atlas(path: Path, per_label: int = 40, **entry: object) -> AtlasEntry:
    rng = np.random.default_rng(5)
    labels = np.repeat([*TYPES, "Cardiomyocyte"], per_label)
    genes = sorted({gene for term in TYPES.values() for gene in markers(term)} | {f"ZNF{n}" for n in range(100, 160)})
    counts = rng.poisson(1.0, (len(labels), len(genes))).astype(np.float32)
    for label, term in TYPES.items():
        at = [genes.index(gene) for gene in markers(term)]
        counts[np.ix_(labels == label, at)] += rng.poisson(8.0, (per_label, len(at)))
    data = ad.AnnData(
        sparse.csr_matrix(counts),
        obs=pd.DataFrame({"type": labels}, index=[f"cell{n}" for n in range(len(labels))]),
        var=pd.DataFrame(index=genes),
    )
    data.write_h5ad(path)
    return AtlasEntry.model_validate({"path": str(path), "obs": {"cell_type": "type"}, **entry})


def _types(tmp_path: Path, entry: AtlasEntry) -> tuple[dict[str, str | None], pd.DataFrame]:
    harmonize_atlas("mine", entry, tmp_path / "cells.parquet", tmp_path / "mapping.tsv")
    cells = pd.read_parquet(tmp_path / "cells.parquet")
    ids = cells.groupby("cell_type_original", observed=True)["cell_type_cl_id"].first()
    table = pd.read_csv(tmp_path / "mapping.tsv", sep="\t", dtype=str)
    return {label: None if pd.isna(term) else term for label, term in ids.items()}, table.set_index("label")


def test_markers_decide_clusters_and_short_forms(tmp_path: Path) -> None:
    found, table = _types(tmp_path, _atlas(tmp_path / "a.h5ad"))
    assert {label: found[label] for label in ("0", "cluster 1", "c2", "PC")} == {
        label: TYPES[label] for label in ("0", "cluster 1", "c2", "PC")
    }
    assert set(table.loc[["0", "cluster 1", "c2", "PC"], "method"]) == {"markers"}
    assert found["doublets"] is None
    assert table.loc["Cardiomyocyte", "method"] == "synonym"


def test_too_few_cells_decide_nothing(tmp_path: Path) -> None:
    found, _ = _types(tmp_path, _atlas(tmp_path / "a.h5ad", per_label=8))
    assert found["0"] is None


def test_the_tissue_decides_before_markers(tmp_path: Path) -> None:
    found, table = _types(tmp_path, _atlas(tmp_path / "a.h5ad", constants={"tissue": "kidney"}))
    assert found["PC"] == "CL:0005009"
    assert table.loc["PC", "method"] == "tissue"


@pytest.mark.skipif(not DATA.exists(), reason="shared data folder is absent")
@pytest.mark.parametrize(("file", "column"), [("kang_ifnb.h5ad", "cell_type"), ("kang_donors.h5ad", "cell")])
def test_decisions_on_real_cells_whose_names_are_hidden(file: str, column: str) -> None:
    entry = AtlasEntry.model_validate({"path": str(DATA / file), "obs": {"cell_type": column}})
    with open_atlas("kang", entry) as store:
        source = read_labels(store, column, "obs.cell_type")
        cells = dict(zip(source.categories, count_labels(source, n_rows(store, "obs")).tolist(), strict=False))
        decided = types_by_markers(entry, source, cells, {label: [] for label in cells})
    right = 0
    for label, match in decided.items():
        term = resolve("cell-type", label, 1)[0].id
        right += match.id in {term, *ancestors(term)} or term in ancestors(match.id)
    assert len(decided) >= 0.6 * len(cells)
    assert right >= 0.85 * len(decided)  # platelets are called megakaryocytes (Mk) there
