"""Weak responses and cells that mislead, made of real Kang cells: which answer is given, and which finding is named.

Part of benchmarks/grounding.py (`weak`). The thresholds of the verdict were looked at on kang_ifnb.h5ad (`tune`);
kang_donors.h5ad (`report`) was not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

FILES = {"tune": ("kang_ifnb.h5ad", "cell_type"), "report": ("kang_donors.h5ad", "cell")}
RIGHT = "IFN-beta"
WRONG = ("TGF-beta", "IL-10", "dexamethasone", "IL-4", "IL-2", "GM-CSF", "M-CSF", "tanespimycin")
LEAST = 40
"""cells of the smaller arm that a type needs"""


def weak(data: Path, split: str) -> dict[str, Any]:
    """Share of each answer to the right question and to wrong ones, per kind of response; cases with their findings."""
    from haystack.config import Settings
    from haystack.grounding import ground_cells, load_evidence, nulls
    from haystack.grounding.arms import compare_arms
    from haystack.grounding.de import differential_expression
    from haystack.grounding.expectation import expectation_of
    from haystack.grounding.response import response_of
    from haystack.grounding.verdict import read_verdict
    from haystack.query import parse_question

    nulls.PERMUTATIONS = nulls.EXPECTATIONS = 0  # no verdict needs them
    evidence = load_evidence(Settings())
    name, column = FILES[split]
    cells = ad.read_h5ad(data / name)
    cells.var_names = cells.var_names.str.upper()
    parsed = {asked: parse_question(f"How would monocytes respond to {asked}?") for asked in (RIGHT, *WRONG)}
    questions = {asked: expectation_of(query.asked) for asked, query in parsed.items()}
    answers: dict[tuple[str, str], Counter[str]] = {}
    for kind, treated, control in responses(cells, column):
        arms = compare_arms(treated, control)
        table = differential_expression(treated.X, control.X, list(cells.var_names), evidence.de)
        response = response_of(table, evidence.de)
        for asked, question in questions.items():
            found = read_verdict(arms, response, question, evidence.alternatives)
            which = "right" if asked == RIGHT else "wrong"
            answers.setdefault((kind, which), Counter())[found.verdict.value] += 1
    cases = {}
    for case, treated, control, asked in misleading(cells, column):
        found = ground_cells(parse_question(asked), treated, control, evidence)
        capping = [item.name for item in found.findings if item.cap == "low"]
        cases[case] = {"value": found.composite_value, "confidence": found.confidence, "findings": capping}
    shares = {f"{kind}, {which}": dict(found) for (kind, which), found in sorted(answers.items())}
    return {"file": name, "answers": shares, "misleading": cases}


def responses(cells: ad.AnnData, column: str) -> Iterator[tuple[str, ad.AnnData, ad.AnnData]]:
    """Full, half strength (half of the counts of each cell are a control cell's), a quarter of responders, 30 cells."""
    rng = np.random.default_rng(0)
    for label in cells.obs[column].unique():
        mine = cells[cells.obs[column] == label]
        control = mine[mine.obs["stim"] == "ctrl"]
        treated = mine[mine.obs["stim"] != "ctrl"]
        if min(treated.n_obs, control.n_obs) < LEAST:
            continue
        order = rng.permutation(control.n_obs)
        first, second = control[order[: len(order) // 2]], control[order[len(order) // 2 :]]
        n = min(treated.n_obs, first.n_obs)
        halved = rng.binomial(_dense(treated, rng, n), 0.5) + rng.binomial(_dense(first, rng, n), 0.5)
        some = treated[rng.permutation(treated.n_obs)[: first.n_obs // 3]]
        yield "full", treated, control
        yield "half strength", _cells(halved, cells), second
        yield "quarter of responders", ad.concat([some, first]), second
        yield "30 cells", *(part[rng.permutation(part.n_obs)[:30]] for part in (treated, control))
        yield "no response", first, second


def misleading(cells: ad.AnnData, column: str) -> Iterator[tuple[str, ad.AnnData, ad.AnnData, str]]:
    """Monocytes mixed into T cells, dissociation genes times four, and arms of different types."""
    from haystack.grounding.arms import programmes

    control = cells[cells.obs["stim"] == "ctrl"]
    names = {name: str(name) for name in cells.obs[column].unique()}
    t_cells = control[control.obs[column] == next(name for name in names if str(name).startswith("CD4"))]
    monocytes = cells[cells.obs[column] == next(name for name in names if str(name).startswith("CD14"))]
    calm = monocytes[monocytes.obs["stim"] == "ctrl"]
    n = t_cells.n_obs // 2
    mixed = ad.concat([t_cells[: 3 * n // 4], calm[: n // 4]])
    yield "monocytes among T cells", mixed, t_cells[n:], "How would CD4 T cells respond to M-CSF?"
    calm = calm[np.random.default_rng(0).permutation(calm.n_obs)]
    half = calm.n_obs // 2
    dense = sparse.csr_matrix(calm[:half].X).toarray()
    dense[:, np.isin(cells.var_names, list(programmes()["dissociation"]))] *= 4
    yield "stress", _cells(dense, cells), calm[half:], "How would CD14+ monocytes respond to tanespimycin?"
    treated = monocytes[monocytes.obs["stim"] != "ctrl"]
    yield "arms of different types", treated, t_cells, "How would CD14+ monocytes respond to IFN-beta?"


def _dense(cells: ad.AnnData, rng: np.random.Generator, n: int) -> np.ndarray:
    return sparse.csr_matrix(cells[rng.permutation(cells.n_obs)[:n]].X).toarray().astype(int)


def _cells(counts: np.ndarray, like: ad.AnnData) -> ad.AnnData:
    var = pd.DataFrame(index=like.var_names)
    return ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)), var=var)
