"""Files with earlier gene symbols meet expectations, gene sets and files with current ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pytest

from haystack.config import EnrichmentSettings, GroundingSettings
from haystack.contracts import Perturbation
from haystack.grounding.cells import align_all, read_counts
from haystack.grounding.genesets import read_edges, read_libraries, read_regulons
from haystack.grounding.ground import ground_cells
from haystack.grounding.score import Evidence
from haystack.grounding.symbols import Columns, current, current_names

RENAMED = {
    "IL8": "CXCL8",
    "DDX58": "RIGI",
    "CYR61": "CCN1",
    "CTGF": "CCN2",
    "FYB": "FYB1",
    "AARS": "AARS1",
    "SELK": "SELENOK",
    "GNB2L1": "RACK1",
}


def renamed(cells: ad.AnnData, names: list[str]) -> ad.AnnData:
    """The same cells, whose first genes are called otherwise."""
    own = cells.copy()
    own.var_names = [*names, *cells.var_names[len(names) :]]
    return own


def test_names() -> None:
    assert [current(old) for old in RENAMED] == list(RENAMED.values())
    assert current(" stat1 ") == "STAT1"
    assert current("C1orf54") == "C1ORF54"
    assert current("Unicorn1") == "UNICORN1"
    assert current_names(["IL8", "G1"]) == ["CXCL8", "G1"]
    assert current_names(["IL8", "CXCL8"]) == ["IL8", "CXCL8"]  # two genes of one file stay two


@pytest.mark.parametrize("names", [list(RENAMED), list(RENAMED.values())])
def test_a_file_of_old_symbols_scores_the_same(made: SimpleNamespace, tmp_path: Path, names: list[str]) -> None:
    library = tmp_path / "sets.gmt"
    rng = np.random.default_rng(0)
    sets = {"raised": [*names, *made.rise[8:20]]}
    sets |= {f"other {at}": list(rng.choice(made.genes[40:], 20, replace=False)) for at in range(20)}
    library.write_text("".join("\t".join([name, "here", *genes]) + "\n" for name, genes in sets.items()))
    old, new = list(RENAMED), list(RENAMED.values())
    query = made.query(dict.fromkeys([*reversed(names), *made.rise[8:12]], 1), {"raised": 1})
    evidence = Evidence(
        libraries=read_libraries({"mine": str(library)}),
        regulons=None,
        edges=None,
        known=[Perturbation(query="x", name="x", expected_targets=dict.fromkeys([*old[:4], *made.genes[60:70]], 1))],
        enrichment=EnrichmentSettings(),
        grounding=GroundingSettings(permutations=50),
    )
    pairs = [made.cells(60, 1, rise=3), made.cells(60, 2)]
    found = [ground_cells(query, *(renamed(cells, kind) for cells in pairs), evidence) for kind in (old, new)]
    assert found[0].composite_value == found[1].composite_value
    assert found[0].components["target_activation"].value == 1, "every expected gene moves"
    assert set(new) <= set(found[0].components["target_activation"].details["right"])
    assert found[0].components["target_activation"].details["not_modelled"] == []


def test_two_files_with_different_symbols_are_aligned(made: SimpleNamespace, tmp_path: Path) -> None:
    for name, symbols in (("old", list(RENAMED)), ("new", list(RENAMED.values()))):
        renamed(made.cells(20, 1), symbols).write_h5ad(tmp_path / f"{name}.h5ad")
    cells = align_all({name: read_counts(tmp_path / f"{name}.h5ad") for name in ("old", "new")})
    assert cells["old"].n_vars == len(made.genes)
    np.testing.assert_array_equal(cells["old"].X.toarray(), cells["new"].X.toarray())


def test_regulons_and_networks_are_renamed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("source,target,weight\nCYR61,IL8,1\n")
    assert read_regulons(path) == {"CCN1": {"CXCL8": 1.0}}
    path.write_text("IL8\tCYR61\nil8\tCXCL8\n")
    assert read_edges(path) == {("CCN1", "CXCL8")}


def test_a_gene_that_a_list_lacks_has_no_column() -> None:
    columns = Columns(["B", "A", "B"])
    assert columns.of(["A", "C", "B"]).tolist() == [1, -1, 2]
    assert Columns([]).of(["A"]).tolist() == [-1]
