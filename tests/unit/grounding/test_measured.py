"""Measured cells as evidence: a prediction is set against what the prompt cells themselves show."""

from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from haystack.config import DESettings, GroundingSettings
from haystack.contracts import CellSet, Component, Prompt
from haystack.grounding.de import Groups, differential_expression
from haystack.grounding.ground import ground_cells
from haystack.grounding.measured import AtlasEvidence, Measured, _null, atlas_evidence, measured_support, shows
from haystack.grounding.response import Response, response_of
from haystack.grounding.score import Evidence, composite

WEIGHTS = GroundingSettings().weights_of("perturbation")


def prompt(name: str, *perturbations: str | None) -> Prompt:
    sets = [
        CellSet(
            cell_set_id=f"{name}_{index}",
            atlas="a",
            perturbation_name=perturbation,
            is_control=False,
            n_cells=50,
            **dict.fromkeys(
                (
                    "cell_type_cl_id",
                    "cell_type_name",
                    "donor_id",
                    "tissue_uberon_id",
                    "disease_mondo_id",
                    "sample_condition",
                )
            ),
        )
        for index, perturbation in enumerate(perturbations)
    ]
    numbers = dict.fromkeys(("relevance", "diversity", "quality", "score"), 1.0)
    rows = {"prompt_rows": [], "control_rows": []}
    return Prompt(
        prompt_id=name,
        strategies=["direct"],
        cell_sets=sets,
        control_strategy="synthetic_control",
        rationale="",
        **numbers,
        **rows,
    )


def shown_cells(made: SimpleNamespace, **changes: tuple[float, float]) -> ad.AnnData:
    """cells.h5ad: per prompt, prompt cells that change so, and control cells."""
    parts = []
    for index, (name, change) in enumerate(changes.items()):
        for role, how in (("prompt", change), ("control_prompt", (1.0, 1.0))):
            cells = made.cells(60, 100 + 10 * index + (role == "prompt"), *how)
            cells.obs["role"], cells.obs["prompt_id"] = role, name
            cells.obs_names = [f"{name}{role}{at}" for at in range(cells.n_obs)]
            parts.append(cells)
    return ad.concat(parts)


def response(made: SimpleNamespace, rise: float, fall: float, seed: int = 1) -> Response:
    first, second = made.cells(60, seed, rise, fall), made.cells(60, seed + 1)
    return response_of(differential_expression(first.X, second.X, made.genes, DESettings()), DESettings())


@pytest.fixture
def evidence(library: object) -> Evidence:
    from haystack.grounding.genesets import read_libraries

    libraries = read_libraries({"mine": str(library)})
    return Evidence(libraries, None, None, [], grounding=GroundingSettings(permutations=100))


def test_only_the_asked_perturbation_counts_as_shown(made: SimpleNamespace) -> None:
    query = made.query({"G001": 1}, name="stuff")
    assert shows(prompt("p", "stuff", "Stuff"), query)
    assert not shows(prompt("p", "stuff", "other"), query)
    assert not shows(prompt("p", None), query)


def test_synonyms_are_the_asked_perturbation() -> None:
    from haystack.query import parse_question

    query = parse_question("How would B cells respond to IFN-beta?")
    assert shows(prompt("p", "interferon beta"), query)
    assert not shows(prompt("p", "IFN-gamma"), query)


def test_agreement_with_measured_cells(made: SimpleNamespace, evidence: Evidence) -> None:
    query = made.query(dict.fromkeys(made.genes[200:210], 1), name="stuff")
    cells = shown_cells(made, p1=(3.0, 0.3), p2=(1.0, 1.0))
    atlas = atlas_evidence(cells, [prompt("p1", "stuff"), prompt("p2", "other")], query, evidence)
    assert list(atlas.shown) == ["p1"]
    assert atlas.shown["p1"].reliability > 0.6
    same, opposite, nothing = (
        measured_support(atlas, "p2", response(made, *change)) for change in ((3, 0.3), (0.3, 3), (1, 1))
    )
    assert same.score > 7
    assert same.p_value < 0.05
    assert opposite.score == 1
    assert nothing.score < 2
    assert measured_support(atlas, "p1", response(made, 3, 0.3)).score > 7


def test_noise_that_a_model_repeats_earns_nothing(made: SimpleNamespace, evidence: Evidence) -> None:
    query = made.query({"G001": 1}, name="stuff")
    cells = shown_cells(made, p1=(1.0, 1.0))
    atlas = atlas_evidence(cells, [prompt("p1", "stuff")], query, evidence)
    mine = cells.obs["role"] == "prompt"
    copied = Groups(cells.X[mine.to_numpy()], cells.X[~mine.to_numpy()], made.genes, DESettings()).table()
    found = measured_support(atlas, "p1", response_of(copied, DESettings()))
    assert found.value < 0.5
    assert found.details["reliability"] < 0.3
    assert found.score < 5


def test_not_measured_is_a_reason(made: SimpleNamespace, evidence: Evidence) -> None:
    query = made.query({"G001": 1}, name="stuff")
    cells = shown_cells(made, p1=(3.0, 0.3))
    assert atlas_evidence(cells, [prompt("p1", "other")], query, evidence) is None
    few = cells[[*range(5), *range(60, 120)]]
    assert atlas_evidence(few, [prompt("p1", "stuff")], query, evidence) is None
    assert "no prompt cells" in measured_support(None, "p1", response(made, 3, 0.3)).reason


def test_textbook_that_measured_cells_contradict_is_not_trusted(made: SimpleNamespace, evidence: Evidence) -> None:
    """The asked perturbation lowers in measured cells what the tables expect to rise; so does the prediction."""
    cells = shown_cells(made, p1=(0.3, 3.0))
    query = made.query(dict.fromkeys(made.rise[:14], 1), {"raised": 1}, name="stuff")
    atlas = atlas_evidence(cells, [prompt("p1", "stuff")], query, evidence)
    assert atlas.trust < 0.2
    pair = made.cells(60, 31, 0.3, 3.0), made.cells(60, 32)
    told = ground_cells(query, *pair, evidence, prompt_id="p1", atlas=atlas)
    alone = ground_cells(query, *pair, evidence, prompt_id="p1")
    assert alone.composite_value < 3.5
    assert told.composite_value >= 6.5
    assert told.nulls["no_change"] == 1
    assert told.nulls["permuted_labels"] <= 2
    assert told.percentile == 100
    wrong = ground_cells(query, made.cells(60, 33, 3.0, 0.3), made.cells(60, 34), evidence, prompt_id="p2", atlas=atlas)
    assert wrong.composite_value < told.composite_value - 3


def test_textbook_that_measured_cells_bear_out_is_trusted(made: SimpleNamespace, evidence: Evidence) -> None:
    targets = {**dict.fromkeys(made.rise[:14], 1), **dict.fromkeys(made.fall, -1)}
    query = made.query(targets, {"raised": 1, "lowered": -1}, name="stuff")
    atlas = atlas_evidence(shown_cells(made, p1=(3.0, 0.3)), [prompt("p1", "stuff")], query, evidence)
    assert atlas.trust > 0.9


def test_measured_weight_stands_beside_the_others() -> None:
    def part(score: float | None) -> Component:
        return Component(evaluated=False, reason="-") if score is None else Component(score=score, evaluated=True)

    known = {name: part(2.0) for name in WEIGHTS if name not in {"literature_support", "measured_support"}}
    both = composite({**known, "measured_support": part(8.0)}, WEIGHTS | {"measured_support": 0.75})
    assert both.value == pytest.approx((0.75 * 2 + 0.75 * 8) / 1.5)
    assert sum(both.weights.values()) == pytest.approx(1, abs=1e-5)
    untrusted = composite({**known, "measured_support": part(8.0)}, WEIGHTS | {"measured_support": 0.75}, trust=0.0)
    assert untrusted.value == 8
    assert composite({**known, "measured_support": part(None)}, WEIGHTS | {"measured_support": 0.75}).value == 2
    assert composite({"measured_support": part(8.0)}, WEIGHTS | {"measured_support": 0.5}).value == 8
    assert composite({"measured_support": part(8.0)}, WEIGHTS | {"measured_support": 0.4}).value is None


def test_pooled_is_the_mean() -> None:
    atlas = AtlasEvidence({"a": Measured(["X"], np.array([1.0]), 1), "b": Measured(["X"], np.array([3.0]), 1)}, 1.0)
    assert atlas.pooled().at(["X", "Y"]).tolist() == [2.0, 0.0]
    assert pd.Series(atlas.pooled().at([])).empty


def test_the_null_is_that_of_exchanged_genes() -> None:
    rng = np.random.default_rng(0)
    made, truth, bins = rng.normal(1, 1, 300), rng.normal(1, 2, 300), rng.integers(-1, 4, 300)
    mean, spread = _null(made, truth, bins)
    draws = []
    for _ in range(3000):
        mixed = made.copy()
        for index in np.unique(bins):
            mixed[bins == index] = rng.permutation(made[bins == index])
        draws.append(mixed @ truth)
    assert mean == pytest.approx(np.mean(draws), abs=3 * spread / np.sqrt(3000))
    assert spread == pytest.approx(np.std(draws), rel=0.05)
