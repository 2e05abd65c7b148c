"""Enrichment against scipy, a running sum by hand and decoupler; gene set files with faults."""

from __future__ import annotations

from dataclasses import replace
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


def test_ora_is_the_hypergeometric_tail_within_the_background(response: Response, library: Path) -> None:
    """Every set, both directions, against scipy and counts of genes by hand."""
    libraries = {"mine": read_gmt(library), "twin": {"RAISED": read_gmt(library)["raised"] | {"NOT MEASURED"}}}
    sets = set_matrix(libraries, response.genes, 5, 500)
    table = enrich(response, sets, None, [], EnrichmentSettings(gsea_sets=0), 0)
    assert len(table) == 2 * len(sets.names)
    for row in table.itertuples():
        chosen = set(response.genes[response.up if row.direction == "up" else response.down])
        members = libraries[row.library][row.term] & set(response.genes)
        hits = members & chosen
        expected = stats.hypergeom.sf(len(hits) - 1, response.genes.size, len(members), len(chosen)) if hits else 1
        assert row.pval == pytest.approx(expected, rel=1e-9, abs=1e-300)
        assert (row.n_overlap, row.n_set) == (len(hits), len(members))
        assert row.genes == ";".join(sorted(hits))
        inside, outside, rest = len(hits) + 0.5, len(chosen - hits) + 0.5, len(members - hits) + 0.5
        neither = len(set(response.genes) - members - chosen) + 0.5
        assert row.statistic == pytest.approx(inside * neither / (outside * rest) if hits else 0)


def _running_sum(ranking: list[tuple[str, float]], members: set[str]) -> tuple[float, set[str]]:
    """Enrichment score and leading edge, gene by gene (Subramanian et al. 2005, weight 1)."""
    total = sum(abs(value) for gene, value in ranking if gene in members)
    sums, at = [], 0.0
    for gene, value in ranking:
        at += abs(value) / total if gene in members else -1 / (len(ranking) - len(members))
        sums.append(at)
    peak = max(range(len(sums)), key=lambda i: abs(sums[i]))
    edge = ranking[: peak + 1] if sums[peak] >= 0 else ranking[peak:]
    return sums[peak], members & {gene for gene, _ in edge}


def _gsea(response: Response, library: Path, seed: int, permutations: int = 200) -> pd.DataFrame:
    sets = set_matrix({"mine": read_gmt(library)}, response.genes, 5, 500)
    table = enrich(response, sets, None, [], EnrichmentSettings(gsea_permutations=permutations), seed)
    return table[table["method"] == "gsea"].set_index("term")


def test_gsea_is_the_running_sum(response: Response, library: Path) -> None:
    """Directions and leading edges by hand; the normalised score against a null of random sets of our own."""
    table = _gsea(response, library, 0, permutations=1000)
    ranking = sorted(zip(response.genes.astype(str), response.signed, strict=True), key=lambda one: (-one[1], one[0]))
    rng = np.random.default_rng(1)
    for name in ("raised", "lowered"):
        members = read_gmt(library)[name] & set(response.genes)
        score, leading = _running_sum(ranking, members)
        row = table.loc[name]
        assert row["direction"] == ("up" if score > 0 else "down")
        assert set(row["genes"].split(";")) == leading
        null = [_running_sum(ranking, set(rng.choice(response.genes, len(members), False)))[0] for _ in range(300)]
        same = [abs(one) for one in null if (one > 0) == (score > 0)]
        assert abs(row["statistic"]) == pytest.approx(abs(score) / np.mean(same), rel=0.1)
        assert row["pval"] == pytest.approx(1 / 1001)


def test_gsea_depends_on_the_seed_and_not_on_the_order_of_genes(response: Response, library: Path) -> None:
    order = np.random.default_rng(0).permutation(response.genes.size)
    arrays = ("genes", "log2fc", "pval", "padj", "is_de", "level", "control")
    shuffled = replace(response, **{name: getattr(response, name)[order] for name in arrays})
    first = _gsea(response, library, 0)
    pd.testing.assert_frame_equal(first, _gsea(shuffled, library, 0), check_exact=True)
    assert not first["statistic"].equals(_gsea(response, library, 1)["statistic"])


def test_gsea_leaves_out_what_cannot_be_enriched(response: Response) -> None:
    still = replace(response, log2fc=np.where(np.arange(response.genes.size) < 20, 0.0, response.log2fc))
    libraries = {"mine": {"still": frozenset(still.genes[:10]), "all": frozenset(still.genes)}}
    sets = set_matrix(libraries, still.genes, 5, 500)
    settings = EnrichmentSettings(gsea_permutations=20)
    assert (enrich(still, sets, None, [], settings, 0)["method"] == "ora").all()
    libraries["mine"]["half"] = frozenset(still.genes[15:30])
    table = enrich(still, set_matrix(libraries, still.genes, 5, 500), None, [], settings, 0)
    assert table.loc[table["method"] == "gsea", "term"].tolist() == ["half"]
    assert table["statistic"].notna().all()


def test_enrichment_touches_no_network(response: Response, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert len(_gsea(response, library, 0))


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
