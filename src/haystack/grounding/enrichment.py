"""Enrichment: over-representation in all sets, pre-ranked GSEA of a shortlist, TF activity by a linear model.

- Over-representation (gseapy's `enrich`): one-sided hypergeometric test of up- and of downregulated DE genes in
  every set; background = tested genes (expressed and in the model).
- GSEA (gseapy's `prerank`): log2fc ranking, weight 1, for shortlisted sets only (expected pathways, then the best
  over-represented sets), because the score does not use it and 6,000 sets take minutes.
- TF activity: t statistic of the slope of a univariate linear model of the ranking on the regulon's weights over
  all tested genes (decoupler's `ulm`, which compiles for ten seconds in every new process).

Sources: Fang et al. 2023 (gseapy), Subramanian et al. 2005 (GSEA), Badia-i-Mompel et al. 2022 (decoupler).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from haystack.grounding.de import adjust
from haystack.grounding.genesets import SetMatrix
from haystack.internals import gseapy

if TYPE_CHECKING:
    import pandas as pd

    from haystack.config import EnrichmentSettings
    from haystack.grounding.response import Response

Libraries = Mapping[str, Mapping[str, frozenset[str]]]
Regulons = Mapping[str, Mapping[str, float]]
MIN_REGULON = 5
"""least number of measured targets of a TF"""


def enrich(
    response: Response,
    sets: SetMatrix,
    regulons: Regulons | None,
    expected: Sequence[str],
    settings: EnrichmentSettings,
    seed: int,
) -> pd.DataFrame:
    """The rows of the contract `ENRICHMENT` (but for prompt_id) of one prompt.

    Parameters
    ----------
    sets
        libraries within the response's genes.
    expected
        gene set names that must be on the GSEA shortlist, best first.
    """
    import pandas as pd

    parts = [_ora_table(response, sets)]
    shortlist = _shortlist(parts[0], sets, expected, settings.gsea_sets)
    if shortlist and settings.gsea_permutations:
        parts.append(_gsea_table(response, sets, shortlist, settings, seed))
    if regulons:
        parts.append(_ulm_table(response, regulons))
    table = pd.concat([part for part in parts if len(part)] or [parts[0]], ignore_index=True)
    return table.sort_values(["method", "library", "direction", "pval", "term"], kind="stable", ignore_index=True)


def over_representation(response: Response, sets: SetMatrix) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Per direction (1 up, -1 down): p-value and overlap of every set.

    The same test as in the table, on arrays, because components and nulls repeat it for each draw.
    """
    tests = {}
    for direction, chosen in ((1, response.up), (-1, response.down)):
        overlap = sets.overlap(chosen)
        tests[direction] = (upper_tail(overlap, response.genes.size, sets.sizes, int(chosen.sum())), overlap)
    return tests


def upper_tail(overlap: np.ndarray, total: int, size: np.ndarray, drawn: int) -> np.ndarray:
    """P(X >= overlap) of the hypergeometric distribution, per set (scipy.stats takes 40 ms a call)."""
    from scipy.special import gammaln

    def log_choose(n: int, k: np.ndarray) -> np.ndarray:
        return np.asarray(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0))

    pval = np.ones(overlap.size)
    for index in np.flatnonzero(overlap > 0):
        most = int(size[index])
        k = np.arange(overlap[index], min(most, drawn) + 1)
        k = k[drawn - k <= total - most]
        terms = log_choose(most, k) + log_choose(total - most, drawn - k) - log_choose(total, np.array(drawn))
        pval[index] = min(float(np.exp(terms).sum()), 1.0)
    return pval


def ulm(ranking: np.ndarray, genes: Sequence[str], regulons: Regulons) -> pd.DataFrame:
    """TF activity: t of the slope of `ranking` on the regulon's weights, zero for genes that are not targets.

    Returns
    -------
    DataFrame
        tf, statistic (t, n - 2 degrees of freedom), pval (two-sided), n (measured targets), sorted by tf.

    Source: decoupler's `ulm` (Badia-i-Mompel et al. 2022).
    """
    import pandas as pd
    from scipy import sparse
    from scipy.special import stdtr

    position = {gene: index for index, gene in enumerate(genes)}
    tfs: list[str] = []
    rows: list[int] = []
    columns: list[int] = []
    weights: list[float] = []
    sizes: list[int] = []
    for tf in sorted(regulons):
        targets = [(position[gene], weight) for gene, weight in sorted(regulons[tf].items()) if gene in position]
        if len(targets) >= MIN_REGULON:
            rows += [at for at, _ in targets]
            weights += [weight for _, weight in targets]
            columns += [len(tfs)] * len(targets)
            tfs.append(tf)
            sizes.append(len(targets))
    n = len(position)
    if not tfs or n < 3:
        return pd.DataFrame({"tf": pd.Series(dtype=str), "statistic": [], "pval": [], "n": []})
    matrix = sparse.csc_matrix((weights, (rows, columns)), shape=(n, len(tfs)))
    y = ranking - ranking.mean()
    mean = np.asarray(matrix.mean(axis=0)).ravel()
    spread = np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel() - n * mean**2
    covariance = matrix.T @ y
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.clip(np.nan_to_num(covariance / np.sqrt(spread * (y @ y))), -1 + 1e-12, 1 - 1e-12)
    t = r * np.sqrt((n - 2) / (1 - r**2))
    return pd.DataFrame({"tf": tfs, "statistic": t, "pval": 2 * stdtr(n - 2, -np.abs(t)), "n": sizes})


def _ora_table(response: Response, sets: SetMatrix) -> pd.DataFrame:
    """Every set of every library, up and down; adjusted within library and direction.

    gseapy leaves out sets without a DE gene: p = 1 and odds ratio 0 here.
    """
    import pandas as pd

    if not sets.names:
        return _empty()
    members = {str(column): response.genes[rows].tolist() for column, rows in enumerate(sets.rows)}
    parts = []
    for direction, chosen in (("up", response.up), ("down", response.down)):
        hits = _overrepresented(response.genes[chosen].tolist(), members, response.genes.tolist())
        genes = [hits["Genes"].get(column, "") for column in members]
        parts.append(
            pd.DataFrame(
                {
                    "method": "ora",
                    "library": list(sets.libraries),
                    "term": list(sets.names),
                    "direction": direction,
                    "statistic": [float(hits["Odds Ratio"].get(column, 0)) for column in members],
                    "pval": [float(hits["P-value"].get(column, 1)) for column in members],
                    "n_overlap": [len(listed.split(";")) if listed else 0 for listed in genes],
                    "n_set": sets.sizes,
                    "genes": [";".join(sorted(listed.split(";"))) for listed in genes],
                }
            )
        )
    return _adjusted(pd.concat(parts, ignore_index=True))


def _overrepresented(genes: list[str], members: dict[str, list[str]], background: list[str]) -> pd.DataFrame:
    """Gseapy's table of the sets that hold any of `genes`, indexed by the keys of `members`."""
    import pandas as pd

    if not any(set(genes).intersection(held) for held in members.values()):
        return pd.DataFrame(columns=["Genes", "Odds Ratio", "P-value"])
    with gseapy().enrich(genes, members, background=background, outdir=None, no_plot=True) as found:
        return found.results.set_index("Term")


def _shortlist(ora: pd.DataFrame, sets: SetMatrix, expected: Sequence[str], size: int) -> list[int]:
    """Columns of `sets` for GSEA: expected ones first, then by over-representation; at most `size`."""
    columns = [sets.column[name.lower()] for name in expected if name.lower() in sets.column]
    by_key = {
        (library, name): index for index, (library, name) in enumerate(zip(sets.libraries, sets.names, strict=True))
    }
    best = ora.sort_values(["pval", "library", "term"], kind="stable")
    columns += [by_key[key] for key in zip(best["library"], best["term"], strict=True)]
    return list(dict.fromkeys(columns))[:size]


def _gsea_table(
    response: Response, sets: SetMatrix, shortlist: list[int], settings: EnrichmentSettings, seed: int
) -> pd.DataFrame:
    import pandas as pd

    # A set of all tested genes cannot be enriched, nor one that holds only genes without any change.
    shortlist = [
        column
        for column in shortlist
        if sets.sizes[column] < response.genes.size and np.any(response.signed[sets.rows[column]])
    ]
    if not shortlist:
        return _empty()
    # Equal values are ordered by name: the same bytes whatever the order of the DE table, so no need for a warning.
    order = np.lexsort((response.genes.astype(str), -response.signed))
    with _silent():
        ranked = gseapy().prerank(
            pd.DataFrame({"gene": response.genes[order], "statistic": response.signed[order]}),
            {str(column): response.genes[sets.rows[column]].tolist() for column in shortlist},
            min_size=1,
            max_size=response.genes.size,
            permutation_num=settings.gsea_permutations,
            ascending=None,
            threads=1,
            seed=seed,
            outdir=None,
            no_plot=True,
        )
    results = ranked.res2d.set_index("Term")
    rows = []
    for column in shortlist:
        one = results.loc[str(column)]
        leading = sorted(str(one["Lead_genes"]).split(";"))
        rows.append(
            {
                "method": "gsea",
                "library": sets.libraries[column],
                "term": sets.names[column],
                "direction": "up" if one["ES"] >= 0 else "down",
                "statistic": float(one["NES"]) if np.isfinite(one["NES"]) else np.nan,
                # The ranking itself is one more permutation: p is never 0 (Phipson & Smyth 2010).
                "pval": np.nanmax([one["NOM p-val"], 1 / (1 + settings.gsea_permutations)]),
                "n_overlap": len(leading),
                "n_set": int(sets.sizes[column]),
                "genes": ";".join(leading),
            }
        )
    return _adjusted(pd.DataFrame(rows))


@contextmanager
def _silent() -> Iterator[None]:
    """Hide warnings: gseapy makes a logger of its own, with a handler, for each call."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _ulm_table(response: Response, regulons: Regulons) -> pd.DataFrame:
    import pandas as pd

    activity = ulm(response.signed, response.genes.tolist(), regulons)
    if not len(activity):
        return _empty()
    moved = set(response.genes[response.is_de])
    known = set(response.genes.tolist())
    table = pd.DataFrame(
        {
            "method": "ulm",
            "library": "regulons",
            "term": activity["tf"],
            "direction": np.where(activity["statistic"] >= 0, "up", "down"),
            "statistic": activity["statistic"].astype(float),
            "pval": activity["pval"].astype(float),
            "n_overlap": activity["n"].astype(int),
            "n_set": [len(known & set(regulons[tf])) for tf in activity["tf"]],
            "genes": [";".join(sorted(moved & set(regulons[tf]))) for tf in activity["tf"]],
        }
    )
    return _adjusted(table)


def _adjusted(table: pd.DataFrame) -> pd.DataFrame:
    """Benjamini-Hochberg within method, library and direction."""
    table["pval"] = table["pval"].astype(float)
    table["padj"] = np.nan
    for index in table.groupby(["method", "library", "direction"], sort=True).groups.values():
        table.loc[index, "padj"] = adjust(table.loc[index, "pval"].to_numpy(float))
    return table


def _empty() -> pd.DataFrame:
    import pandas as pd

    from haystack.contracts import ENRICHMENT

    kinds = {"str": "object", "int": "int64", "float": "float64", "bool": "bool"}
    return pd.DataFrame(
        {
            column.name: pd.Series(dtype=kinds[column.kind])
            for column in ENRICHMENT.columns
            if column.name != "prompt_id"
        }
    )
