"""Differential expression and enrichment of one prompt, beside scanpy, illico, gseapy and decoupler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import sparse

from benchmarks.compare import OURS, Work, alternate


def evidence(folder: Path, n_cells: int, n_genes: int, rounds: int) -> Iterator[Work]:
    """`n_cells` perturbed against as many control cells; p-values of all contenders agree."""
    yield from expression(n_cells, n_genes, rounds)
    yield from enrichment(n_genes, rounds)
    yield from contexts(n_cells, n_genes)


def expression(n_cells: int, n_genes: int, rounds: int) -> Iterator[Work]:
    """Wilcoxon's test of every gene, tie corrected, on CP10k (pdex tests with a correction for continuity)."""
    import anndata as ad
    import pandas as pd
    import scanpy as sc
    from illico import asymptotic_wilcoxon

    from haystack.config import Settings
    from haystack.grounding.de import differential_expression

    rng = np.random.default_rng(0)
    genes = [f"G{i}" for i in range(n_genes)]
    rate = rng.lognormal(-2.5, 1.5, n_genes)
    raised = rate * np.where(np.arange(n_genes) % 20 == 0, 2.0, 1.0)
    drawn = (rng.poisson(mean, (n_cells, n_genes)) for mean in (raised, rate))
    perturbed, control = (sparse.csr_matrix(counts.astype(np.float32)) for counts in drawn)
    settings = Settings().de
    both = sparse.vstack([perturbed, control], format="csr")
    scale = 1e4 / np.asarray(both.sum(axis=1)).ravel()
    shares = sparse.csr_matrix(sparse.diags(scale) @ both)
    obs = pd.DataFrame({"arm": ["perturbed"] * n_cells + ["control"] * n_cells}).astype("category")
    obs.index = [f"cell{i}" for i in range(2 * n_cells)]
    cells = ad.AnnData(shares.astype(np.float64), obs=obs, var=pd.DataFrame(index=genes))

    def ours() -> np.ndarray:
        return differential_expression(perturbed, control, genes, settings)["pval"].to_numpy(float)

    def by_scanpy() -> np.ndarray:
        data = cells.copy()
        data.uns["log1p"] = {"base": None}
        sc.tl.rank_genes_groups(
            data, "arm", groups=["perturbed"], reference="control", method="wilcoxon", tie_correct=True
        )
        found = sc.get.rank_genes_groups_df(data, "perturbed").set_index("names")
        return found["pvals"][genes].to_numpy(float)

    def by_illico() -> np.ndarray:
        found = asymptotic_wilcoxon(
            cells,
            is_log1p=False,
            group_keys="arm",
            reference="control",
            return_as_scanpy=False,
            use_continuity=False,
            tie_correct=True,
        )
        return found.xs("perturbed", level=0)["p_value"][genes].to_numpy(float)

    contenders = {OURS: ours, "scanpy": by_scanpy, "illico": by_illico}
    times = alternate(contenders, rounds, _alike)
    yield Work(
        f"DE of {n_cells} against {n_cells} cells x {n_genes:,} genes",
        times,
        "sorting the values of each gene; means and the table",
    )


def contexts(n_cells: int, n_genes: int) -> Iterator[Work]:
    """The estimate from all measured contexts of a perturbation, and its accuracy from leaving each out.

    Once, on one thread, as in the pipeline.
    """
    from threadpoolctl import threadpool_limits

    from benchmarks.prediction import estimate_and_accuracy, made_up_panel

    donors, types = (12, 18) if n_cells > 100 else (3, 3)
    panel = made_up_panel(donors, types, n_genes)
    with threadpool_limits(1):
        times = alternate({OURS: lambda: estimate_and_accuracy(panel)}, 1, warm=False)
    name = f"response from {donors * types} contexts x {n_genes:,} genes, each left out once"
    yield Work(name, times, "sums over contexts for each training example", "fewer training examples per context")


def _alike(ours: np.ndarray, others: np.ndarray) -> bool:
    """P-values to 1 in 1,000, where both tested, but for a few genes whose ties depend on rounding."""
    known = np.isfinite(ours) & np.isfinite(others) & (ours > 1e-200)
    return bool(np.isclose(ours[known], others[known], rtol=1e-3).sum() > 0.99 * known.sum() > 0.5 * len(ours))


def enrichment(n_genes: int, rounds: int) -> Iterator[Work]:
    """Over-representation in all sets of the default libraries, and TF activities of the default regulons."""
    import decoupler as dc
    import gseapy
    import pandas as pd

    from haystack.config import Settings
    from haystack.grounding.enrichment import over_representation, ulm
    from haystack.grounding.genesets import read_libraries, read_regulons, set_matrix
    from haystack.grounding.response import response_of

    settings = Settings()
    libraries = read_libraries(settings.enrichment.libraries)
    regulons = read_regulons(settings.enrichment.regulons)
    named = {gene for sets in libraries.values() for members in sets.values() for gene in members}
    named |= {gene for targets in regulons.values() for gene in targets}
    genes = [*sorted(named), *(f"MADEUP{i}" for i in range(n_genes))][:n_genes]
    rng = np.random.default_rng(0)
    log2fc = rng.normal(0, 1, len(genes))
    significant = np.abs(log2fc) > 1.5
    table = pd.DataFrame(
        {
            "gene": genes, "log2fc": log2fc, "pval": np.where(significant, 1e-6, 0.5),
            "padj": np.where(significant, 1e-4, 0.9), "mean_perturbed": 1.0, "mean_control": 1.0,
            "in_model": True, "is_de": significant,
        }
    )  # fmt: skip
    response = response_of(table, settings.de)
    sets = set_matrix(libraries, response.genes, settings.enrichment.min_size, settings.enrichment.max_size)
    members = {str(i): response.genes[rows].tolist() for i, rows in enumerate(sets.rows)}
    up = response.genes[response.up].tolist()

    def ours() -> np.ndarray:
        return over_representation(response, sets)[1][0]

    def by_gseapy() -> np.ndarray:
        found = gseapy.enrich(up, members, background=response.genes.tolist(), outdir=None, no_plot=True).results
        return found.set_index("Term")["P-value"].reindex(list(members)).fillna(1.0).to_numpy(float)

    times = alternate({OURS: ours, "gseapy": by_gseapy}, rounds, _alike)
    yield Work(
        f"over-representation of {len(up):,} genes in {len(members)} sets",
        times,
        "tails of the hypergeometric distribution",
        "ours does both directions, and nulls repeat it",
    )
    net = pd.DataFrame(
        [(tf, gene, weight) for tf, targets in sorted(regulons.items()) for gene, weight in sorted(targets.items())],
        columns=["source", "target", "weight"],
    )
    data = pd.DataFrame([log2fc], index=["prompt"], columns=genes)

    def ours_ulm() -> pd.Series:
        return ulm(log2fc, genes, regulons).set_index("tf")["statistic"]

    def by_decoupler() -> pd.Series:
        return dc.mt.ulm(data, net, tmin=5)[0].loc["prompt"]

    def same(one: pd.Series, other: pd.Series) -> bool:
        return np.allclose(one.sort_index(), other.sort_index().reindex(sorted(one.index)), rtol=1e-4, atol=1e-4)

    times = alternate({OURS: ours_ulm, "decoupler": by_decoupler}, rounds, same)
    yield Work(f"activities of {len(regulons)} TFs", times, "building the matrix of targets", "milliseconds")
