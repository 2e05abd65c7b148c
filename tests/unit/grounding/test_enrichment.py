"""Enrichment against gseapy, scipy and decoupler; gene set files with faults."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from haystack.config import DESettings, EnrichmentSettings
from haystack.errors import GroundingError
from haystack.grounding.de import differential_expression
from haystack.grounding.enrichment import enrich, over_representation, ulm
from haystack.grounding.genesets import read_edges, read_gmt, read_regulons, set_matrix
from haystack.grounding.gsea import prerank
from haystack.grounding.response import Response, response_of


@pytest.fixture
def response(made: SimpleNamespace) -> Response:
    first, second = made.cells(60, 1, rise=3, fall=0.3), made.cells(60, 2)
    return response_of(differential_expression(first.X, second.X, made.genes, DESettings()), DESettings())


def test_table_equals_the_arrays_that_nulls_use(response: Response, library: Path) -> None:
    sets = set_matrix({"mine": read_gmt(library)}, response.genes, 5, 500)
    table = enrich(response, sets, None, [], EnrichmentSettings(gsea_sets=0), 0)
    arrays = over_representation(response, sets)
    for direction, sign in (("up", 1), ("down", -1)):
        part = table[table["direction"] == direction].set_index("term").loc[list(sets.names)]
        np.testing.assert_allclose(part["pval"], arrays[sign][0], rtol=1e-9, atol=1e-300)
        assert part["n_overlap"].tolist() == arrays[sign][1].tolist()


def test_over_representation_is_fishers(response: Response, library: Path) -> None:
    sets = set_matrix({"mine": read_gmt(library)}, response.genes, 5, 500)
    pval, _ = over_representation(response, sets)[1]
    members = np.isin(np.arange(response.genes.size), sets.rows[sets.column["raised"]])
    counts = pd.crosstab(members, response.up).to_numpy()[::-1, ::-1]
    assert pval[sets.column["raised"]] == pytest.approx(stats.fisher_exact(counts, alternative="greater").pvalue)


def test_over_representation_is_gseapys(response: Response, library: Path) -> None:
    import gseapy

    sets = set_matrix({"mine": read_gmt(library)}, response.genes, 5, 500)
    ours = enrich(response, sets, None, [], EnrichmentSettings(gsea_sets=0), 0)
    ours = ours[ours["direction"] == "up"].set_index("term")
    wanted = {name: response.genes[rows].tolist() for name, rows in zip(sets.names, sets.rows, strict=True)}
    theirs = gseapy.enrich(
        response.genes[response.up].tolist(), wanted, background=response.genes.tolist(), outdir=None, no_plot=True
    ).results.set_index("Term")
    part = ours.loc[theirs.index]
    np.testing.assert_allclose(part["pval"], theirs["P-value"].astype(float), rtol=1e-6)
    np.testing.assert_allclose(part["statistic"], theirs["Odds Ratio"].astype(float), rtol=1e-6)
    assert [genes.split(";") for genes in part["genes"]] == [sorted(genes.split(";")) for genes in theirs["Genes"]]
    assert (ours.loc[~ours.index.isin(theirs.index), "pval"] == 1).all()


@pytest.mark.filterwarnings("ignore")
def test_prerank_is_gseapys() -> None:
    import gseapy

    rng = np.random.default_rng(1)
    statistic = np.sort(rng.normal(size=600))[::-1]
    genes = [f"G{i}" for i in range(600)]
    sets = {"top": np.arange(0, 90, 3), "bottom": np.arange(450, 600, 5), "spread": np.arange(3, 600, 20)}
    ours = dict(zip(sets, prerank(statistic, list(sets.values()), 2000, 0), strict=True))
    theirs = gseapy.prerank(
        pd.DataFrame({"gene": genes, "value": statistic}),
        {name: [genes[at] for at in rows] for name, rows in sets.items()},
        min_size=1,
        permutation_num=2000,
        seed=0,
        outdir=None,
        no_plot=True,
        threads=1,
    ).res2d.set_index("Term")
    for name, one in ours.items():
        row = theirs.loc[name]
        assert one.score == pytest.approx(float(row["ES"]), abs=1e-9)
        assert one.normalised == pytest.approx(float(row["NES"]), rel=0.03)
        assert one.pval == pytest.approx(float(row["NOM p-val"]), abs=0.05)
        assert {genes[at] for at in one.leading} == set(str(row["Lead_genes"]).split(";"))


def test_prerank_of_nothing_much() -> None:
    flat, whole = prerank(np.zeros(10), [np.array([0, 1]), np.arange(10)], 20, 0)
    assert flat.pval > 0.05
    assert np.isfinite([flat.score, whole.score]).all()
    assert prerank(np.arange(5.0), [], 20, 0) == []


def test_gsea_shortlist_leads_with_the_expected(response: Response, library: Path) -> None:
    sets = set_matrix({"mine": read_gmt(library)}, response.genes, 5, 500)
    settings = EnrichmentSettings(gsea_sets=3, gsea_permutations=50)
    table = enrich(response, sets, None, ["Other 7", "not there"], settings, 0)
    gsea = table[table["method"] == "gsea"].set_index("term")
    assert set(gsea.index) == {"other 7", "raised", "lowered"}
    assert gsea.loc["raised", "direction"] == "up"
    assert gsea.loc["lowered", "direction"] == "down"
    assert gsea["padj"].between(0, 1).all()
    assert set(gsea.loc["raised", "genes"].split(";")) <= set(read_gmt(library)["raised"])


def test_ulm_is_decouplers() -> None:
    decoupler = pytest.importorskip("decoupler")
    rng = np.random.default_rng(0)
    genes = [f"G{i}" for i in range(200)]
    ranking = rng.normal(size=200)
    regulons = {f"T{t}": {g: float(rng.choice([-1, 1])) for g in rng.choice(genes, 12, False)} for t in range(6)}
    ours = ulm(ranking, genes, regulons)
    net = pd.DataFrame(
        [(tf, g, w) for tf in regulons for g, w in regulons[tf].items()], columns=["source", "target", "weight"]
    )
    theirs, pvals = decoupler.mt.ulm(pd.DataFrame([ranking], index=["x"], columns=genes), net, tmin=5)
    np.testing.assert_allclose(ours["statistic"], theirs.loc["x", ours["tf"]], rtol=1e-6)
    raw = 2 * stats.t.sf(np.abs(theirs.loc["x", ours["tf"]]), 198)
    np.testing.assert_allclose(ours["pval"], raw, rtol=1e-6)
    assert pvals.shape == theirs.shape


def test_no_de_genes_give_a_table_without_gaps(made: SimpleNamespace, library: Path) -> None:
    first, second = made.cells(60, 1), made.cells(60, 2)
    table = differential_expression(first.X, second.X, made.genes, DESettings()).assign(is_de=False)
    response = response_of(table, DESettings())
    sets = set_matrix({"mine": read_gmt(library)}, response.genes, 5, 500)
    found = enrich(response, sets, {"T": {"NOWHERE": 1.0}}, [], EnrichmentSettings(), 0)
    ora = found[found["method"] == "ora"]
    assert (ora["pval"] == 1).all()
    assert ora["statistic"].notna().all()
    assert not (found["method"] == "ulm").any()


def test_faulty_gene_sets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.gmt"
    path.write_text("a\tsource\tG1\tg2,1.0\nempty\tsource\na\tagain\tG3\n\n")
    assert read_gmt(path) == {"a": {"G1", "G2", "G3"}}
    assert "no genes" in caplog.text
    assert "twice" in caplog.text
    path.write_text("just words\n")
    with pytest.raises(GroundingError, match="line 1"):
        read_gmt(path)
    path.write_text("\n")
    with pytest.raises(GroundingError, match="no gene set"):
        read_gmt(path)
    with pytest.raises(GroundingError, match="no such"):
        read_gmt(tmp_path / "nowhere.gmt")


def test_faulty_regulons_and_networks(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("source,target\nA,B\n")
    with pytest.raises(GroundingError, match="weight"):
        read_regulons(path)
    path.write_text("source,target,weight\nA,B,much\n")
    with pytest.raises(GroundingError, match="not a number"):
        read_regulons(path)
    path.write_text("# genes\na\tb\nB\tA\nA\tA\n")
    assert read_edges(path) == {("A", "B")}
    path.write_text("alone\n")
    with pytest.raises(GroundingError, match="line 1"):
        read_edges(path)
