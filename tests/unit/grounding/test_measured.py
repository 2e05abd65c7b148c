"""Measured cells as evidence: only what is not in the prompt supports it, and nothing mutes a contradiction."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from haystack.config import GroundingSettings
from haystack.contracts import CellSet, ExpectedAccuracy, Prompt
from haystack.grounding.ground import ground_cells
from haystack.grounding.measured import Shown, measurements, prompts_shown, shows
from haystack.grounding.score import Evidence
from haystack.grounding.support import Measurements, measurements_of
from haystack.transfer.pseudobulk import pseudobulk


def prompt(name: str, *perturbations: str | None) -> Prompt:
    keys = ("cell_type_cl_id", "cell_type_name", "donor_id", "tissue_uberon_id", "disease_mondo_id", "sample_condition")
    sets = [
        CellSet(
            cell_set_id=f"{name}_{index}",
            atlas="a",
            perturbation_name=perturbation,
            is_control=False,
            n_cells=50,
            **dict.fromkeys(keys),
        )
        for index, perturbation in enumerate(perturbations)
    ]
    return Prompt(
        prompt_id=name, strategies=["direct"], cell_sets=sets, control_strategy="synthetic_control", rationale="",
        relevance=1, diversity=1, quality=1, score=1, prompt_rows=[], control_rows=[],
    )  # fmt: skip


def contexts(made: SimpleNamespace, **donors: tuple[float, float]) -> ad.AnnData:
    """contexts.h5ad: per donor, treated cells that change so and control cells."""
    rows, parts = [], []
    for index, (donor, change) in enumerate(donors.items()):
        for arm, how in (("perturbed", change), ("control", (1.0, 1.0))):
            for half in (0, 1):
                parts.append(made.cells(60, 1000 + 10 * index + 2 * half + (arm == "perturbed"), *how))
                rows.append((f"c_{donor}", arm, half, "a", "CL:0000236", "B cell", donor, "stuff", "same donor", donor))
    cells = ad.concat(parts, index_unique="-")
    bulk = pseudobulk(cells.X, np.repeat(np.arange(len(parts)), 60), len(parts))
    names = ("context_id", "arm", "half", "atlas", "cell_type", "cell_type_name", "donor_id", "perturbation_name")
    obs = pd.DataFrame(rows, columns=[*names, "control_match", "control_donors"])
    obs["n_cells"], obs["mean_total_counts"] = 60, bulk.depth
    obs.index = obs.index.astype(str)
    return ad.AnnData(bulk.mean, obs, pd.DataFrame(index=made.genes), layers={"variance": bulk.variance})


def accuracy(kept: float) -> ExpectedAccuracy:
    return ExpectedAccuracy(r=0.5, low=0.3, high=0.7, kept=kept, asked_is_measured=True)


def shown(found: Measurements | None, *donors: str) -> Shown:
    return Shown(found, frozenset(donors), ())


@pytest.fixture
def evidence(library: object) -> Evidence:
    from haystack.grounding.genesets import read_libraries

    return Evidence(
        read_libraries({"mine": str(library)}), None, None, [], grounding=GroundingSettings(permutations=100)
    )


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


def test_support_comes_from_donors_that_are_not_in_the_prompt(made: SimpleNamespace, evidence: Evidence) -> None:
    query = made.query(dict.fromkeys(made.rise[:14], 1), name="stuff")
    found = measurements_of(contexts(made, A=(3.0, 0.3), B=(3.0, 0.3), C=(3.0, 0.3)))
    pair = made.cells(60, 31, 3.0, 0.3), made.cells(60, 32)
    supported = ground_cells(query, *pair, evidence, shown=shown(found, "A"))
    assert supported.expected_r > 0.8
    assert supported.components["measured_support"].details["donors"] == 2
    assert supported.confidence == "high"
    opposed = measurements_of(contexts(made, A=(3.0, 0.3), B=(0.3, 3.0)))
    assert ground_cells(query, *pair, evidence, shown=shown(opposed, "A")).expected_r < 0
    unknown = ground_cells(query, *pair, evidence, shown=shown(measurements_of(contexts(made, A=(3.0, 0.3)))))
    assert not unknown.components["measured_support"].evaluated
    alone = measurements_of(contexts(made, A=(3.0, 0.3)))
    single = ground_cells(query, *pair, evidence, shown=shown(alone, "A"))
    assert not single.components["measured_support"].evaluated
    assert single.expected_r is None
    assert single.confidence == "medium"


def test_support_carries_less_far_the_farther_the_asked_cells_are(made: SimpleNamespace, evidence: Evidence) -> None:
    query = made.query(dict.fromkeys(made.rise[:14], 1), name="stuff")
    found = measurements_of(contexts(made, A=(3.0, 0.3), B=(3.0, 0.3), C=(3.0, 0.3)))
    pair = made.cells(60, 31, 3.0, 0.3), made.cells(60, 32)
    near, far = (
        ground_cells(query, *pair, evidence, shown=replace(shown(found, "A"), accuracy=accuracy(kept)))
        for kept in (1.0, 0.5)
    )
    details = [one.components["measured_support"].details for one in (near, far)]
    assert details[0]["agreement"] == details[1]["agreement"] == pytest.approx(near.expected_r, abs=1e-6)
    assert np.arctanh(far.expected_r) == pytest.approx(0.5 * np.arctanh(near.expected_r), abs=1e-4)
    assert far.composite_value < near.composite_value


def test_what_a_model_predicts_from_is_no_independent_support_for_it(made: SimpleNamespace, evidence: Evidence) -> None:
    query = made.query(dict.fromkeys(made.rise[:14], 1), name="stuff")
    parts = []
    for role in ("prompt", "control_prompt", "query"):
        cells = made.cells(60, len(parts), 3.0 if role == "prompt" else 1.0)
        cells.obs = cells.obs.assign(role=role, prompt_id=None if role == "query" else "p1", donor_id="A")
        parts.append(cells)
    cells = ad.concat(parts, index_unique="-")
    measured = contexts(made, A=(3.0, 0.3), B=(0.3, 3.0))
    known = measurements(measured, query)
    pair = made.cells(60, 31, 0.3, 3.0), made.cells(60, 32)  # as donor B shows it
    found = {
        sees_all: prompts_shown(cells, [prompt("p1", "stuff")], query, measured, known, None, 0, sees_all)["p1"]
        for sees_all in (False, True)
    }
    assert found[True].donors == {"A", "B"}
    assert found[True].contexts == (0, 1)
    said = {key: ground_cells(query, *pair, evidence, shown=one).expected_r for key, one in found.items()}
    assert said[False] > 0.8
    assert said[True] <= 0  # the two donors contradict each other


def test_noise_that_a_model_repeats_earns_nothing(made: SimpleNamespace, evidence: Evidence) -> None:
    query = made.query(dict.fromkeys(made.rise[:14], 1), name="stuff")
    found = measurements_of(contexts(made, A=(1.0, 1.0), B=(1.0, 1.0)))
    pair = made.cells(60, 1001), made.cells(60, 1000)  # the cells of donor A's context
    repeated = ground_cells(query, *pair, evidence, shown=shown(found, "A"))
    assert abs(repeated.expected_r or 0) < 0.3
    assert repeated.confidence == "low"


def test_measured_cells_do_not_mute_a_contradiction(made: SimpleNamespace, evidence: Evidence) -> None:
    """The tables expect a rise; three donors show a fall, and so does the prediction."""
    query = made.query(dict.fromkeys(made.rise[:14], 1), {"raised": 1}, name="stuff")
    found = measurements_of(contexts(made, A=(0.3, 3.0), B=(0.3, 3.0), C=(0.3, 3.0)))
    told = ground_cells(query, made.cells(60, 31, 0.3, 3.0), made.cells(60, 32), evidence, shown=shown(found, "A"))
    assert told.verdict == "contradicted"
    assert told.components["target_activation"].score == 1
    known = ("target_activation", "pathway_coherence", "network_coherence")
    assert sum(told.weights.get(name, 0) for name in known) == pytest.approx(0.2)
    assert told.confidence == "medium"


def test_every_null_is_asked_every_component(made: SimpleNamespace, evidence: Evidence) -> None:
    query = made.query(dict.fromkeys(made.rise[:14], 1), name="stuff")
    found = measurements_of(contexts(made, A=(3.0, 0.3), B=(3.0, 0.3)))
    told = ground_cells(query, made.cells(60, 31, 3.0, 0.3), made.cells(60, 32), evidence, shown=shown(found, "A"))
    assert told.nulls["no_change"] < told.composite_value - 3
    assert told.nulls["permuted_labels"] < told.composite_value - 3


def test_the_specification_keeps_its_weights(made: SimpleNamespace, evidence: Evidence) -> None:
    from dataclasses import replace

    original = replace(evidence, grounding=GroundingSettings(profile="specification", permutations=100))
    query = made.query(dict.fromkeys(made.rise[:14], 1), {"raised": 1}, name="stuff")
    found = ground_cells(query, made.cells(60, 31, 3.0, 0.3), made.cells(60, 32), original)
    assert found.confidence is None
    assert found.verdict is None
    assert found.weights == pytest.approx(
        {"pathway_coherence": 1 / 3, "target_activation": 0.4, "network_coherence": 0.8 / 3}, abs=1e-5
    )
    mean = sum(weight * found.components[name].score for name, weight in found.weights.items())
    assert found.composite_value == pytest.approx(mean, abs=1e-3)


def test_prompts_say_their_donors_and_design(made: SimpleNamespace) -> None:
    query = made.query(dict.fromkeys(made.rise[:14], 1), name="stuff")
    parts = []
    for role, donor, change in (("prompt", "A", 3.0), ("control_prompt", "B", 1.0), ("query", "Q", 1.0)):
        cells = made.cells(60, len(parts), change)
        cells.obs = cells.obs.assign(role=role, prompt_id=None if role == "query" else "p1", donor_id=donor)
        parts.append(cells)
    cells = ad.concat(parts, index_unique="-")
    known = contexts(made, A=(3, 1))
    found = prompts_shown(
        cells, [prompt("p1", "stuff"), prompt("p2", "other")], query, known, measurements(known, query), None, 0
    )
    assert found["p1"].donors == {"A", "B"}
    assert found["p1"].measurements.donors == ["A"]
    assert {"replicates", "power"} <= {item.name for item in found["p1"].findings}
    assert "other_perturbation" in {item.name for item in found["p2"].findings}

    assert not {"background"} & {item.name for one in found.values() for item in one.findings}
    asked = query.asked.model_copy(update={"background": ["LPS"]})
    without = query.model_copy(update={"asked": asked})
    plain, primed = prompt("p1", "stuff"), prompt("p2", "stuff")
    primed.cell_sets[0].background = "LPS"
    both = prompts_shown(cells, [plain, primed], without, known, measurements(known, query), None, 0)
    caps = {name: {item.name: item.cap for item in one.findings} for name, one in both.items()}
    assert caps["p1"]["background"] == "medium"
    assert "background" not in caps["p2"]
