"""Cells that had something before the treatment are compared with cells that had it, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from haystack.contracts import write_json
from haystack.contracts.retrieval import RowSelection
from haystack.query import parse_question
from haystack.transfer.study import open_study

QUESTION = "How would IL-4-treated B cells respond to IFN-beta?"
BOTH = "IL-4 + IFN-beta"


@pytest.fixture
def labels(crossed, settings, tmp_path: Path):
    """`labels(treatments, question)`: labels of prompt, control and query cells, and the first prompt's cell set."""

    def run(treatments: list[str], question: str = QUESTION, types: tuple[str, ...] = ("B cells", "NK cells")):
        world = crossed((60, list(types), treatments, ["d1", "d2"]))
        prompts = world.run(parse_question(question), tmp_path, settings())
        obs = world.source("one").obs["treatment"]

        def of(selections: list[RowSelection]) -> set[str]:
            return {str(obs.iloc[row]) for selection in selections for row in selection.rows}

        first = prompts.prompts[0]
        return of(first.prompt_rows), of(first.control_rows), of(prompts.query_cells.rows), first.cell_sets[0]

    return run


def test_controls_and_query_cells_had_the_background(labels) -> None:
    prompt, control, query, cell_set = labels(["PBS", "IL-4", "IFN-beta", BOTH])
    assert (prompt, control, query) == ({BOTH}, {"IL-4"}, {"IL-4"})
    assert (cell_set.perturbation_name, cell_set.background, cell_set.is_control) == ("IFN-beta", "IL-4", False)


@pytest.mark.parametrize("treatments", [["PBS", "IL-4", "IFN-beta"], ["PBS", "IFN-beta", BOTH]])
def test_without_both_arms_on_the_background_the_plain_treatment_is_taken(labels, treatments: list[str]) -> None:
    prompt, control, query, cell_set = labels(treatments)
    assert (prompt, control, query) == ({"IFN-beta"}, {"PBS"}, {"PBS"})
    assert cell_set.background is None


def test_measured_contexts_have_the_background_in_both_arms(crossed, settings, tmp_path: Path) -> None:
    world = crossed((60, ["B cells", "NK cells"], ["PBS", "IL-4", "IFN-beta", BOTH], ["d1", "d2"]))
    write_json(tmp_path / "query.json", parse_question(QUESTION))
    study = open_study(tmp_path / "query.json", world.cell_sets, world.cells, settings())
    obs = world.source("one").obs["treatment"]
    arms = [
        {str(obs.iloc[row]) for place in rows for row in study.book[str(study.question.index.ids[place])].rows}
        for context in study.contexts
        for rows in (context.perturbed, context.control)
    ]
    assert study.asked_is_measured
    assert arms == [{BOTH}, {"IL-4"}] * 4


def test_treatments_given_together_are_compared_with_untreated_cells(labels) -> None:
    prompt, control, query, _ = labels(
        ["PBS", "IL-4", "IFN-beta", BOTH], "How would B cells respond to IL-4 and IFN-beta?"
    )
    assert (prompt, control, query) == ({BOTH}, {"PBS"}, {"PBS"})


def test_a_knock_out_is_matched_by_its_effect(labels) -> None:
    treatments = ["PBS", "STAT1 KO", "IFN-beta", "STAT1 KO + IFN-beta"]
    prompt, control, query, _ = labels(treatments, "How would B cells lacking STAT1 respond to IFN-beta?")
    assert (prompt, control, query) == ({"STAT1 KO + IFN-beta"}, {"STAT1 KO"}, {"STAT1 KO"})
