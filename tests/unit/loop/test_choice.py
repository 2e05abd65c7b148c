"""Expected accuracy chooses prompts and pools; where nothing can be expected, nearness does."""

from __future__ import annotations

import numpy as np
import pytest

from haystack.contracts import CellSet, Prompt, PromptGrounding, Prompts, QueryCells
from haystack.contracts.contexts import ControlMatch
from haystack.contracts.design import Finding
from haystack.grounding.support import Measurements
from haystack.loop.choice import best_prompt, pool_is_better

N = 300
EFFECT = np.where(np.arange(N) < 50, 1.5, 0.0)


def prompt(name: str, relevance: float, donor: str = "A", kind: str = "CL:1") -> Prompt:
    part = CellSet(
        cell_set_id=name, atlas="a", perturbation_name="x", cell_type_cl_id=kind, cell_type_name=kind, donor_id=donor,
        tissue_uberon_id=None, disease_mondo_id=None, sample_condition=None, is_control=False, n_cells=50,
    )  # fmt: skip
    return Prompt(
        prompt_id=name, strategies=["direct"], cell_sets=[part], prompt_rows=[], control_rows=[], rationale="",
        control_strategy="synthetic_control", relevance=relevance, diversity=1, quality=1, score=1,
    )  # fmt: skip


def grounded(
    name: str, value: float | None, expected_r: float | None, confidence: str | None = "low"
) -> PromptGrounding:
    return PromptGrounding(
        prompt_id=name, components={}, weights={}, composite_value=value, expected_r=expected_r, confidence=confidence,
        control_strategy="synthetic_control", n_de=1, n_up=1, n_down=0,
    )  # fmt: skip


def chosen(*prompts: Prompt) -> Prompts:
    nothing = QueryCells(rows=[], cell_sets=[], rationale="")
    return Prompts(
        run_id="r", iteration=1, seed=0, control_strategy_asked="synthetic_control", prompts=list(prompts),
        query_cells=nothing, n_untried_after=0,
    )  # fmt: skip


def measured(seed: int, *contexts: tuple[str, str, np.ndarray], noise: float = 0.4) -> Measurements:
    rng = np.random.default_rng(seed)
    kinds, donors, effects = zip(*contexts, strict=True)
    halves = np.stack([np.array(effects) + rng.normal(0, noise, (len(effects), N)) for _ in range(2)])
    return Measurements(
        genes=[f"G{i}" for i in range(N)], log2fc=halves.mean(axis=0), halves=halves, treated=halves[0],
        control=0 * halves[0], noise=np.zeros((2, len(kinds))), names=[f"c{i}" for i in range(len(kinds))],
        cell_types=kinds, atlases=["a"] * len(kinds), donors=donors,
        control_donors=[frozenset({donor}) for donor in donors], matches=[ControlMatch.SAME_DONOR] * len(kinds),
        closeness=np.array([1.0 if kind == "CL:1" else 0.3 for kind in kinds]),
    )  # fmt: skip


def test_a_prompt_must_be_expected_to_be_more_accurate_than_the_nearest() -> None:
    prompts = chosen(prompt("p1", 0.9), prompt("p2", 0.4), prompt("p3", 0.3))
    found = [grounded("p1", 3.0, 0.2), grounded("p2", 6.0, 0.5), grounded("p3", 9.0, 0.4)]
    assert best_prompt(found, prompts).prompt_id == "p2"
    close = [grounded("p1", 3.0, 0.48), grounded("p2", 6.0, 0.5), grounded("p3", 9.0, None)]
    assert best_prompt(close, prompts).prompt_id == "p1"


@pytest.mark.parametrize("confidence", ["low", None])
def test_the_first_of_equally_good_prompts_is_the_best(confidence: str | None) -> None:
    prompts = chosen(prompt("p1", 0.9), prompt("p2", 0.9))
    found = [grounded("p1", 6.0, 0.5, confidence), grounded("p2", 6.0, 0.5, confidence)]
    assert best_prompt(found, prompts).prompt_id == "p1"


def test_a_prompt_with_a_grave_finding_gives_way() -> None:
    stress = Finding(name="stress", value=0.6, sentence="", cap="low")
    prompts = chosen(prompt("p1", 0.9), prompt("p2", 0.4))
    found = [grounded("p1", 3.0, 0.9).model_copy(update={"findings": [stress]}), grounded("p2", 6.0, 0.5)]
    assert best_prompt(found, prompts).prompt_id == "p2"
    assert best_prompt([found[0]], prompts).prompt_id == "p1"


def test_the_nearest_prompt_stands_where_nothing_can_be_expected() -> None:
    prompts = chosen(prompt("p1", 0.9), prompt("p2", 0.4))
    assert best_prompt([grounded("p1", 3.0, None), grounded("p2", 6.0, None)], prompts).prompt_id == "p1"
    assert best_prompt([grounded("p1", None, None), grounded("p2", 6.0, None)], prompts).prompt_id == "p2"
    assert best_prompt([grounded("p1", None, None)], prompts) is None
    by_score = [grounded("p1", 3.0, None, None), grounded("p2", 6.0, None, None)]
    assert best_prompt(by_score, prompts).prompt_id == "p2"


def test_without_classes_the_first_of_the_highest_values_is_the_best() -> None:
    found = [grounded(f"p{i}", value, None, None) for i, value in enumerate((None, 5.0, 6.0, 6.0))]
    prompts = chosen(*(prompt(item.prompt_id, 1) for item in found))
    assert best_prompt(found, prompts) is found[2]
    assert best_prompt(found[::-1], prompts) is found[3]


def test_a_pool_of_donors_averages_noise_out() -> None:
    found = measured(0, *(("CL:1", donor, EFFECT) for donor in "ABC"), noise=1.5)
    members = [prompt(f"p{donor}", 1, donor) for donor in "ABC"]
    assert pool_is_better(found, members)


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_a_pool_that_averages_the_nearest_type_away_is_dropped(noise: float) -> None:
    other = np.where((np.arange(N) >= 50) & (np.arange(N) < 120), 3.0, 0.0)
    contexts = [("CL:1", "A", EFFECT), ("CL:1", "B", EFFECT), ("CL:2", "A", other), ("CL:2", "B", other)]
    members = [prompt("p1", 1, "A"), prompt("p2", 0.3, "A", "CL:2")]
    assert not pool_is_better(measured(0, *contexts, noise=noise), members)


def test_without_an_estimate_no_pool_is_better() -> None:
    members = [prompt("p1", 1, "A"), prompt("p2", 1, "A", "CL:2")]
    assert not pool_is_better(None, members)
    assert not pool_is_better(measured(0, ("CL:1", "A", EFFECT), ("CL:2", "A", EFFECT)), members)
