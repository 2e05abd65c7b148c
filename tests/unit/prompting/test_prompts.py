from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from haystack.contracts import (
    ControlStrategy,
    Grounding,
    Prompts,
    Refinement,
    TaskType,
    read_cells,
    read_json,
    write_json,
)
from haystack.contracts.retrieval import RowSelection
from haystack.errors import AtlasError, ContractError, RetrievalError
from haystack.retrieval import retrieve_cells


def _rows(selections: list[RowSelection]) -> set[tuple[str, int]]:
    return {(selection.atlas, row) for selection in selections for row in selection.rows}


def _assert_sound(prompts: Prompts) -> None:
    """What holds for all prompts whatever the question."""
    query = _rows(prompts.query_cells.rows)
    used: Counter[str] = Counter()
    for prompt in prompts.prompts:
        own, control = _rows(prompt.prompt_rows), _rows(prompt.control_rows)
        assert own
        assert not own & control
        assert not own & query
        assert not control & query
        assert [s.cell_set_id for s in prompt.cell_sets] == [s.cell_set_id for s in prompt.prompt_rows]
        assert all(
            selection.rows == sorted(set(selection.rows)) for selection in prompt.prompt_rows + prompt.control_rows
        )
        assert bool(prompt.control_rows) == (prompt.control_strategy is ControlStrategy.SYNTHETIC_CONTROL)
        used.update(s.cell_set_id for s in prompt.cell_sets)
    assert max(used.values()) == 1
    everything = [_rows(p.prompt_rows) for p in prompts.prompts]
    controls = set().union(*(_rows(p.control_rows) for p in prompts.prompts))
    assert not set().union(*everything) & controls


def test_prompts_are_different_paired_and_apart_from_the_query_cells(world, question, settings, tmp_path: Path) -> None:
    prompts = world.run(question("B cells"), tmp_path, settings())
    _assert_sound(prompts)
    assert len(prompts.prompts) == 3
    obs = world.source("pbmc").obs
    for prompt in prompts.prompts:
        own = obs.iloc[[row for _, row in sorted(_rows(prompt.prompt_rows))]]
        control = obs.iloc[[row for _, row in sorted(_rows(prompt.control_rows))]]
        assert len(own) == 30
        assert set(own["treatment"]) <= {"IFN-beta", "IFN-lambda1"}
        assert set(control["treatment"]) == {"PBS"}
        keys = ["label", "donor"]
        per_set, paired = (Counter(map(tuple, cells[keys].to_numpy())) for cells in (own, control))
        assert per_set.keys() == paired.keys()
        assert all(20 <= paired[key] <= per_set[key] for key in paired)
        assert (prompt.pairing_steps, prompt.pairing_penalty) == ([], 0)
        assert f"{len(control)} control cells matched in atlas, cell type, donor" in prompt.rationale
    query = obs.iloc[[row for _, row in _rows(prompts.query_cells.rows)]]
    assert set(query["label"]) == {"B cells"}
    assert set(query["treatment"]) == {"PBS"}


@pytest.mark.parametrize("prompt_cells", [10, 45, 300])
@pytest.mark.parametrize(("query_cells", "prompts_per_iteration"), [(20, 1), (500, 6)])
def test_roles_stay_apart_whatever_the_sizes(
    world, question, settings, tmp_path: Path, prompt_cells: int, query_cells: int, prompts_per_iteration: int
) -> None:
    sizes = {"prompt_cells": prompt_cells, "query_cells": query_cells}
    chosen = settings(prompting=sizes, prompts_per_iteration=prompts_per_iteration)
    prompts = world.run(question("NK cells"), tmp_path, chosen)
    _assert_sound(prompts)
    assert len(prompts.prompts) <= prompts_per_iteration
    assert len(_rows(prompts.query_cells.rows)) <= query_cells
    assert all(len(_rows(prompt.prompt_rows)) <= prompt_cells for prompt in prompts.prompts)
    assert all(len(_rows(p.control_rows)) <= len(_rows(p.prompt_rows)) for p in prompts.prompts)


def test_hybrid_questions_join_two_atlases(world, question, settings, tmp_path: Path) -> None:
    query = question("B cells", task_type=TaskType.CROSS_DATASET_GENERATION, reference_dataset="lone")
    prompts = world.run(query, tmp_path, settings())
    _assert_sound(prompts)
    assert {atlas for atlas, _ in _rows(prompts.query_cells.rows)} == {"pbmc"}
    (prompt,) = prompts.prompts
    assert {s.atlas for s in prompt.cell_sets} == {"lone"}
    cells = read_cells(tmp_path / "iter_1" / "cells.h5ad")
    assert "ONLY" in cells.var_names


def test_the_best_prompt_is_the_asked_perturbation_in_the_asked_type(world, question, settings, tmp_path: Path) -> None:
    first = world.run(question("B cells"), tmp_path, settings()).prompts[0]
    assert first.cell_sets[0].cell_type_name == "B cell"
    assert first.cell_sets[0].perturbation_name == "IFN-beta"
    assert first.relevance == 1
    assert first.score == pytest.approx(0.5 * first.relevance + 0.3 * first.diversity + 0.2 * first.quality, abs=1e-5)


def test_query_and_control_cells_split_a_set_that_serves_both(world, question, settings, tmp_path: Path) -> None:
    """40 PBS B cells per donor: half are kept back for the controls of IFN-beta B cells."""
    prompts = world.run(question("B cells"), tmp_path, settings(prompting={"prompt_cells": 40, "query_cells": 500}))
    _assert_sound(prompts)
    assert len(_rows(prompts.query_cells.rows)) == 60
    assert "fewer than the 500 asked for" in prompts.query_cells.rationale


def test_a_set_that_cannot_be_a_control_gives_all_its_cells_to_the_query(
    world, question, settings, tmp_path: Path
) -> None:
    hold_out = {"exclude": [{"cell_type": ["B cells"], "perturbation": ["IFN-beta", "IFN-lambda1"]}]}
    few = settings(prompting={"prompt_cells": 40, "query_cells": 500}, retrieval=hold_out)
    prompts = world.run(question("B cells"), tmp_path, few)
    _assert_sound(prompts)
    assert len(_rows(prompts.query_cells.rows)) == 120


def test_iterations_share_query_cells_try_new_sets_and_count_down_to_zero(
    world, question, settings, tmp_path: Path
) -> None:
    chosen = settings(prompting={"prompt_cells": 90, "query_cells": 50}, prompts_per_iteration=2)
    tried: list[str] = []
    queries, left, iteration = [], None, 0
    while left != 0:
        iteration += 1
        prompts = world.run(question("B cells"), tmp_path, chosen, iteration)
        _assert_sound(prompts)
        candidates = world.candidates(tmp_path, iteration)
        assert left is None or candidates.n_untried == left
        new = [s.cell_set_id for prompt in prompts.prompts for s in prompt.cell_sets]
        assert prompts.n_untried_after == candidates.n_untried - len(new)
        tried += new
        left = prompts.n_untried_after
        queries.append(prompts.query_cells)
    assert len(tried) == len(set(tried)) == 25  # 4 types x 2 cytokines x 3 donors, and the lone one
    assert all(query == queries[0] for query in queries)
    assert iteration > 2


def test_the_same_question_gives_the_same_cells_whatever_the_run_id(world, question, settings, tmp_path: Path) -> None:
    one = world.run(question("B cells"), tmp_path / "one", settings(), run_id="one")
    two = world.run(question("B cells"), tmp_path / "two", settings(), run_id="two")
    assert one.model_dump(exclude={"run_id"}) == two.model_dump(exclude={"run_id"})
    files = [tmp_path / name / "iter_1" / "cells.h5ad" for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()
    other = world.run(question("B cells"), tmp_path / "three", settings(seed=1))
    assert _rows(other.query_cells.rows) != _rows(one.query_cells.rows)


def test_small_sets_join_within_atlas_and_treatment_same_type_first(world, question, settings, tmp_path: Path) -> None:
    chosen = settings(prompting={"prompt_cells": 100, "query_cells": 50}, prompts_per_iteration=1)
    prompts = world.run(question("B cells"), tmp_path, chosen)
    _assert_sound(prompts)
    (first,) = prompts.prompts
    assert {(s.atlas, s.perturbation_name) for s in first.cell_sets} == {("pbmc", "IFN-beta")}
    assert [s.cell_type_name for s in first.cell_sets] == ["B cell"] * 3
    assert [len(selection.rows) for selection in first.prompt_rows] == [40, 40, 20]
    assert "one set has too few cells; added " in first.rationale


def test_a_prompt_without_controls_falls_back(world, question, settings, tmp_path: Path) -> None:
    only = settings(retrieval={"exclude": [{"atlas": "pbmc", "perturbation": ["IFN-beta", "IFN-lambda1"]}]})
    prompts = world.run(question("B cells"), tmp_path, only)
    (prompt,) = prompts.prompts
    assert prompt.cell_sets[0].atlas == "lone"
    assert prompt.control_strategy is ControlStrategy.QUERY_AS_CONTROL
    assert prompts.control_strategy_asked is ControlStrategy.SYNTHETIC_CONTROL
    assert prompt.control_rows == []
    assert "query cells themselves are the control" in prompt.rationale
    assert prompts.n_untried_after == 0


def test_query_as_control_takes_no_control_cells(world, question, settings, tmp_path: Path) -> None:
    asked = world.run(question("B cells"), tmp_path / "a", settings(control_strategy="query_as_control"))
    words = question("B cells", control_strategy=ControlStrategy.QUERY_AS_CONTROL)
    by_words = world.run(words, tmp_path / "b", settings())
    for prompts in (asked, by_words):
        assert {p.control_strategy for p in prompts.prompts} == {ControlStrategy.QUERY_AS_CONTROL}
        assert all(not p.control_rows for p in prompts.prompts)
        assert "as asked" in prompts.prompts[0].rationale


def test_hold_outs_by_original_label_are_absolute(world, question, settings, tmp_path: Path) -> None:
    exclude = [{"cell_type": ["CD14+ Monocytes"]}, {"donor": ["d2"]}, {"atlas": "lone"}]
    chosen = settings(retrieval={"exclude": exclude}, prompting={"prompt_cells": 90, "query_cells": 50})
    iteration, left = 0, None
    obs = world.source("pbmc").obs
    while left != 0:
        iteration += 1
        prompts = world.run(question("B cells"), tmp_path, chosen, iteration)
        selections = [s for p in prompts.prompts for s in (*p.prompt_rows, *p.control_rows)] + prompts.query_cells.rows
        assert {selection.atlas for selection in selections} == {"pbmc"}
        cells = obs.iloc[[row for _, row in _rows(selections)]]
        assert not set(cells["label"]) & {"CD14+ Monocytes"}
        assert set(cells["donor"]) == {"d1", "d3"}
        left = prompts.n_untried_after
    assert world.candidates(tmp_path, 1).n_untried == 3 * 2 * 2


def test_a_hold_out_of_one_original_label_leaves_the_rest_of_its_set(
    mystery, question, settings, tmp_path: Path
) -> None:
    chosen = settings(retrieval={"exclude": [{"cell_type": ["Mystery"]}]}, prompting={"prompt_cells": 60})
    sets = pd.read_parquet(mystery.cell_sets)
    assert set(sets.loc[sets["cell_type_cl_id"] == "CL:0000236", "n_cells"]) == {55}
    prompts = mystery.run(question("B cells"), tmp_path, chosen)
    _assert_sound(prompts)
    selections = [s for p in prompts.prompts for s in (*p.prompt_rows, *p.control_rows)] + prompts.query_cells.rows
    labels = mystery.source("both").obs["label"].iloc[[row for _, row in _rows(selections)]]
    assert set(labels) == {"B cells", "NK cells"}
    b_cells = [
        s
        for p in prompts.prompts
        for s in p.prompt_rows
        if s.cell_set_id == prompts.prompts[0].cell_sets[0].cell_set_id
    ]
    assert [len(selection.rows) for selection in b_cells] == [30]


def test_cells_file_holds_the_atlases_counts_over_the_union_of_genes(world, question, settings, tmp_path: Path) -> None:
    chosen = settings(retrieval={"exclude": [{"atlas": "pbmc", "perturbation": ["IFN-lambda1"]}]})
    chosen = chosen.model_copy(update={"prompts_per_iteration": 20})
    prompts = world.run(question("B cells"), tmp_path, chosen)
    cells = read_cells(tmp_path / "iter_1" / "cells.h5ad")
    assert cells.var_names.tolist() == sorted({*world.source("pbmc").var_names, *world.source("lone").var_names})
    assert cells.obs_names.is_unique
    assert set(cells.obs["atlas"]) == {"pbmc", "lone"}
    for atlas, part in cells.obs.groupby("atlas", observed=True):
        source = world.source(str(atlas))
        ours = cells[part.index].to_df()
        theirs = source[part["row"].to_numpy()].to_df()
        np.testing.assert_array_equal(ours[source.var_names].to_numpy(), theirs.to_numpy())
        assert (ours[[gene for gene in cells.var_names if gene not in source.var_names]] == 0).all(axis=None)
        expected = source.obs["treatment"].iloc[part["row"].to_numpy()].astype(str).replace("PBS", "none").to_numpy()
        assert part["perturbation_name"].astype(object).fillna("none").tolist() == expected.tolist()
        assert [name.split(":")[1] for name in part.index] == source.obs_names[part["row"]].tolist()
    roles = cells.obs.groupby(["role", "prompt_id"], observed=True).size()
    for prompt in prompts.prompts:
        assert roles["prompt", prompt.prompt_id] == len(_rows(prompt.prompt_rows))
        if prompt.control_rows:
            assert roles["control_prompt", prompt.prompt_id] == len(_rows(prompt.control_rows))
    query = cells.obs[cells.obs["role"] == "query"]
    assert query["prompt_id"].isna().all()
    assert len(query) == len(_rows(prompts.query_cells.rows))
    assert {"donor_id", "cell_set_id", "cell_type_name"} <= set(cells.obs)


def test_refinement_changes_the_number_of_prompt_cells_but_not_the_query(
    world, question, settings, tmp_path: Path
) -> None:
    plain = world.run(question("B cells"), tmp_path, settings())
    path = tmp_path / "iter_1" / "candidates.json"
    data = json.loads(path.read_text())
    data["refinement"] = {"sentence": "fewer cells", "prompt_cells": 12}
    path.write_text(json.dumps(data))
    refined = world.prompt(tmp_path, settings())
    assert [len(_rows(p.prompt_rows)) for p in refined.prompts] == [12, 12, 12]
    assert refined.query_cells == plain.query_cells


def test_imputation_prompts_with_the_donors_cells_and_healthy_controls(
    clinic, question, settings, tmp_path: Path
) -> None:
    query = question("B cells", None, target_donor_id="s1")
    prompts = clinic.run(query, tmp_path, settings(prompts_per_iteration=2))
    _assert_sound(prompts)
    obs = clinic.source("clinic").obs
    first = prompts.prompts[0]
    assert {s.donor_id for s in first.cell_sets} == {"clinic:s1"}
    assert "B cell" not in {s.cell_type_name for s in first.cell_sets}
    control = obs.iloc[[row for _, row in _rows(first.control_rows)]]
    assert set(control["donor"]) <= {"h1", "h2"}
    assert set(control["label"]) == {obs.iloc[first.prompt_rows[0].rows[0]]["label"]}
    query_cells = obs.iloc[[row for _, row in _rows(prompts.query_cells.rows)]]
    assert set(query_cells["label"]) == {"B cells"}
    assert set(query_cells["donor"]) <= {"h1", "h2"}
    everything = [s for p in prompts.prompts for s in (*p.prompt_rows, *p.control_rows)] + prompts.query_cells.rows
    answer = obs.reset_index(drop=True).query("label == 'B cells' and donor == 's1'").index
    assert not {row for _, row in _rows(everything)} & set(answer)


def test_no_cell_is_prompt_and_control_in_any_iteration(clinic, question, settings, tmp_path: Path) -> None:
    """Healthy donors can be prompts and controls: every iteration keeps them apart, and all sets get their turn."""
    chosen = settings(prompts_per_iteration=4, prompting={"prompt_cells": 40, "query_cells": 20})
    left, iteration, tried = None, 0, []
    while left != 0:
        iteration += 1
        prompts = clinic.run(question("B cells", None, target_donor_id="s1"), tmp_path, chosen, iteration)
        _assert_sound(prompts)
        left = prompts.n_untried_after
        tried += [s.cell_set_id for prompt in prompts.prompts for s in prompt.cell_sets]
    assert len(tried) == len(set(tried)) == clinic.candidates(tmp_path, 1).n_untried == 11  # all but the answer


def test_cells_of_another_index_are_refused(world, question, settings, tmp_path: Path) -> None:
    from haystack.contracts import CELL_SETS, read_table
    from haystack.prompting.rows import RowBook

    sets = read_table(world.cell_sets, CELL_SETS)
    book = RowBook(sets.assign(n_cells=sets["n_cells"] + 1), world.cells)
    with pytest.raises(ContractError, match=r"has \d+ cells here and \d+ in the index .* build the index again"):
        book.load(sets["cell_set_id"])


def test_nothing_left_is_an_error_that_says_so(world, question, settings, tmp_path: Path) -> None:
    world.run(question("B cells"), tmp_path, settings())
    path = tmp_path / "iter_1" / "candidates.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"candidates": data["candidates"][:2]}))
    hidden = settings(retrieval={"exclude": [{"perturbation": ["IFN-beta"]}]})
    with pytest.raises(RetrievalError, match=r"none of the 2 candidates has 20 cells left after retrieval\.exclude"):
        world.prompt(tmp_path, hidden)
    held = settings(retrieval={"exclude": [{"cell_type": ["B cells"]}]})
    with pytest.raises(
        ContractError, match=r"candidates\.json is missing from the index of cell sets, or is now held out"
    ):
        world.prompt(tmp_path, held)
    with pytest.raises(RetrievalError, match="no query cells"):
        world.run(question("B cells"), tmp_path, held)


def test_an_index_without_its_atlas_is_an_error_that_names_it(world, question, settings, tmp_path: Path) -> None:
    from haystack.prompting import write_prompts

    world.run(question("B cells"), tmp_path, settings())
    folder = tmp_path / "iter_1"
    files = (tmp_path / "query.json", folder / "candidates.json", world.cell_sets)
    out = (tmp_path / "p.json", tmp_path / "c.h5ad")
    with pytest.raises(AtlasError, match="atlas 'pbmc' is in the index but not among the atlases"):
        write_prompts(*files, world.cells, {}, *out, settings())
    with pytest.raises(ContractError, match=r"no cells\.parquet for atlas 'pbmc'"):
        write_prompts(*files, {}, world.atlases, *out, settings())
    assert not out[0].exists()
    assert not out[1].exists()


def test_prompts_file_round_trips(world, question, settings, tmp_path: Path) -> None:
    prompts = world.run(question("B cells"), tmp_path, settings())
    write_json(tmp_path / "again.json", prompts)
    assert read_json(tmp_path / "again.json", Prompts) == prompts


def test_a_pool_makes_one_deeper_prompt_first(world, question, settings, tmp_path: Path) -> None:
    own = settings(prompting={"prompt_cells": 50, "query_cells": 50})
    first = world.run(question("B cells"), tmp_path, own)
    pool = sorted({part.cell_set_id for prompt in first.prompts[:2] for part in prompt.cell_sets})
    grounding = Grounding(
        run_id="r",
        iteration=1,
        prompts=[],
        best_prompt_id=None,
        composite_value=None,
        refinement=Refinement(sentence="pool", pool=pool),
    )
    write_json(tmp_path / "iter_1" / "grounding.json", grounding)
    (tmp_path / "iter_2").mkdir()
    retrieve_cells(
        tmp_path / "query.json",
        world.cell_sets,
        tmp_path / "iter_1" / "grounding.json",
        [tmp_path / "iter_1" / "prompts.json"],
        tmp_path / "iter_2" / "candidates.json",
        own,
        "r",
        2,
        world.cells,
    )
    found = world.candidates(tmp_path, 2)
    assert set(pool) <= {candidate.cell_set.cell_set_id for candidate in found.candidates}
    second = world.prompt(tmp_path, own, 2)
    _assert_sound(second)
    deep, *others = second.prompts
    assert sorted(part.cell_set_id for part in deep.cell_sets) == pool
    assert 50 < len(_rows(deep.prompt_rows)) <= 200
    assert "pooled" in deep.rationale
    assert others
    for prompt in others:
        assert not {part.cell_set_id for part in prompt.cell_sets} & {
            part.cell_set_id for one in first.prompts for part in one.cell_sets
        }
    new = {part.cell_set_id for prompt in others for part in prompt.cell_sets}
    assert second.n_untried_after == found.n_untried - len(new)


def test_sets_that_share_a_control_set_share_no_control_cell(crossed, question, settings, tmp_path: Path) -> None:
    world = crossed((20, ["B cells"], ["IFN-beta"], ["d1", "d2", "d3"]), (80, ["B cells"], ["PBS"], ["d1"]))
    chosen = settings(prompting={"prompt_cells": 60, "query_cells": 10}, prompts_per_iteration=1)
    (prompt,) = world.run(question("B cells"), tmp_path, chosen).prompts
    assert [len(part.rows) for part in prompt.prompt_rows] == [20, 20, 20]
    (control,) = prompt.control_rows
    assert len(set(control.rows)) == len(control.rows) == 60


@pytest.mark.parametrize(("weight", "types"), [(0.0, {"B cell"}), (0.9, {"B cell", "natural killer cell"})])
def test_diversity_shows_another_type_beside_the_best(
    crossed, question, settings, tmp_path: Path, weight: float, types: set[str]
) -> None:
    world = crossed((40, ["B cells", "NK cells"], ["PBS", "IFN-beta"], ["d1", "d2"]))
    chosen = settings(retrieval={"weight_relevance": 0.5, "weight_diversity": weight}, prompts_per_iteration=2)
    prompts = world.run(question("B cells"), tmp_path, chosen).prompts
    assert {part.cell_type_name for prompt in prompts for part in prompt.cell_sets} == types
