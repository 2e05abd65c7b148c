"""Measured contexts as evidence: what is independent, what agrees, and what untreated donors show."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from haystack.grounding.design import context_findings, sham_ratio
from haystack.grounding.support import Measurements, measurements_of

N = 400
EFFECT = np.where(np.arange(N) < 60, 1.5, 0.0)


class Bench:
    """Pseudobulk of an experiment; every person has a profile of their own."""

    def __init__(self, seed: int = 0, spread: float = 0.5) -> None:
        self.rng = np.random.default_rng(seed)
        self.base = self.rng.uniform(1, 5, N)
        self.people: dict[str, np.ndarray] = {}
        self.spread = spread
        self.rows: list[dict[str, object]] = []
        self.levels: list[np.ndarray] = []

    def level(self, person: str) -> np.ndarray:
        if person not in self.people:
            self.people[person] = self.base + self.rng.normal(0, self.spread, N)
        return self.people[person]

    def add(
        self, treated: str | None, control: str | None, effect: np.ndarray, kind: str = "T", atlas: str = "a"
    ) -> None:
        same = treated == control
        match = "donors not recorded" if treated is None else "same donor" if same else "other donors"
        for arm, person, change in (("perturbed", treated, effect), ("control", control, 0.0)):
            for half in (0, 1):
                noisy = self.level(person or "someone") + change + self.rng.normal(0, 0.1, N)
                self.levels.append(np.exp2(noisy) - 1)
                self.rows.append(
                    {
                        "context_id": f"{treated}{control}{kind}{atlas}", "arm": arm, "half": half, "atlas": atlas,
                        "cell_type": kind, "cell_type_name": kind, "donor_id": treated, "perturbation_name": "x",
                        "control_match": match, "control_donors": control or "", "n_cells": 50,
                        "mean_total_counts": 2000.0,
                    }
                )  # fmt: skip

    def ask(self, person: str) -> None:
        for half in (0, 1):
            self.levels.append(np.exp2(self.level(person) + self.rng.normal(0, 0.1, N)) - 1)
            self.rows.append(
                self.rows[0]
                | {"context_id": "query", "arm": "query", "half": half, "donor_id": None, "control_donors": ""}
            )

    def measured(self) -> Measurements:
        X = np.array(self.levels, dtype=np.float32)
        obs = pd.DataFrame(self.rows)
        obs.index = obs.index.astype(str)
        var = pd.DataFrame(index=[f"G{i}" for i in range(N)])
        found = measurements_of(ad.AnnData(X, obs, var, layers={"variance": np.full_like(X, 0.2)}))
        assert found is not None
        return found


def caps(found: Measurements, query: np.ndarray | None = None) -> dict[str, str]:
    return {item.name: item.cap for item in context_findings(found, query)}


def test_matched_donors_that_agree() -> None:
    bench = Bench()
    for name in "ABC":
        bench.add(name, name, EFFECT)
    found = bench.measured()
    assert found.n_agreeing == 3
    assert found.expected_of([0, 1, 2]) == pytest.approx(1, abs=0.1)
    assert caps(found)["replicates"] == "high"
    assert "control_donors" not in caps(found)


def test_cell_types_of_one_donor_are_not_independent() -> None:
    bench = Bench()
    for kind in ("T", "B", "NK"):
        bench.add("A", "B", 0 * EFFECT, kind)
    found = bench.measured()
    assert found.expected_of([0, 1, 2]) is None
    assert caps(found)["replicates"] == "medium"
    assert caps(found)["control_donors"] == "low"


def test_untreated_people_called_treated() -> None:
    bench = Bench()
    bench.add("A", "B", 0 * EFFECT)
    bench.add("C", "D", 0 * EFFECT)
    found = bench.measured()
    assert found.n_agreeing == 0
    assert sham_ratio(found) == pytest.approx(1, abs=0.3)
    assert caps(found)["replicates"] == caps(found)["control_donors"] == caps(found)["sham"] == "low"


def test_unmatched_controls_with_replicates_that_agree() -> None:
    bench = Bench()
    bench.add("A", "B", EFFECT)
    bench.add("C", "D", EFFECT)
    found = bench.measured()
    assert found.n_agreeing == 2
    assert sham_ratio(found) > 1.5
    assert caps(found)["control_donors"] == caps(found)["sham"] == "medium"


def test_the_query_donor_is_an_untreated_one_for_the_sham() -> None:
    bench = Bench()
    bench.add("A", "B", 0 * EFFECT)
    assert sham_ratio(bench.measured()) is None
    ratio = sham_ratio(bench.measured(), bench.level("Q"))
    assert ratio == pytest.approx(1, abs=0.3)
    bench = Bench()
    bench.add("A", "B", 2 * EFFECT)
    assert sham_ratio(bench.measured(), bench.level("Q")) > 2


def test_a_swapped_sample_condemns_itself() -> None:
    bench = Bench()
    for name, sign in zip("ABCD", (1, 1, 1, -1), strict=True):
        bench.add(name, name, sign * EFFECT)
    found = bench.measured()
    assert found.dissenting == ["D"]
    assert caps(found)["replicates"] == "medium"


def test_without_donors_only_other_atlases_are_independent() -> None:
    bench = Bench()
    bench.add(None, None, EFFECT)
    bench.add(None, None, EFFECT, kind="B")
    assert bench.measured().expected_of([0, 1]) is None
    bench.add(None, None, EFFECT, atlas="b")
    found = bench.measured()
    assert found.n_agreeing == 2


def test_contexts_outside_a_prompt_share_no_donor_with_it() -> None:
    bench = Bench()
    bench.add("A", "A", EFFECT)
    bench.add("B", "C", EFFECT)
    bench.add(None, None, EFFECT)
    found = bench.measured()
    assert found.outside(["A"]).tolist() == [False, True, False]
    assert found.outside(["C"]).tolist() == [True, False, False]


def test_more_donors_are_expected_to_be_more_accurate() -> None:
    bench = Bench(spread=0)
    for name in "ABCD":
        bench.add(name, name, EFFECT + bench.rng.normal(0, 0.8, N))
    found = bench.measured()
    assert found.expected_of([0]) < found.expected_of([0, 1]) < found.expected_of([0, 1, 2, 3])
    unseen = [np.corrcoef(EFFECT + bench.rng.normal(0, 0.8, N), found.log2fc.mean(axis=0))[0, 1] for _ in range(20)]
    assert found.expected_of([0, 1, 2, 3]) == pytest.approx(np.mean(unseen), abs=0.12)


def test_the_nearest_contexts_count_most() -> None:
    """Cells like those of T are asked for; B responds more strongly and otherwise."""
    other = 2 * np.roll(EFFECT, 100)
    bench = Bench(spread=0.1)
    for name in "AB":
        bench.add(name, name, EFFECT, "T")
        bench.base = bench.base + np.where(np.arange(N) % 5 == 0, 2.0, 0.0)
        bench.people.clear()
        bench.add(name, name, other, "B")
        bench.base = bench.base - np.where(np.arange(N) % 5 == 0, 2.0, 0.0)
        bench.people.clear()
    bench.ask("Q")
    found = bench.measured()
    assert found.similarity_weight[0] > 3 * found.similarity_weight[1]
    assert found.expected_of([0]) > found.expected_of([1])


def test_noise_has_low_reliability() -> None:
    bench = Bench()
    bench.add("A", "A", 0 * EFFECT)
    assert caps(bench.measured())["reliability"] == "low"


def test_genes_among_the_measured_are_those_of_the_last_question() -> None:
    made = Bench()
    made.add("a", "a", made.rng.normal(0, 1, N))
    made.add("b", "b", made.rng.normal(0, 1, N))
    found = made.measured()
    some, others = np.array([*found.genes[5:60:3], "ABSENT"]), np.array(found.genes[::-1])
    for genes in (some, others, others, some):
        shared, changes, centred = found.among(genes)
        columns = [list(found.genes).index(gene) for gene in genes if gene in found.genes]
        assert shared.tolist() == [gene in found.genes for gene in genes]
        assert np.array_equal(changes, found.log2fc[:, columns])
        assert np.allclose(centred, changes - changes.mean(axis=1, keepdims=True))
