from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from haystack.config import CellFilter, Settings
from haystack.contracts import (
    CELL_SETS,
    Candidates,
    Grounding,
    Refinement,
    TaskType,
    read_json,
    to_json,
    write_json,
    write_table,
)
from haystack.errors import RetrievalError
from haystack.retrieval import find_candidates, retrieve_cells

SETTINGS = Settings()
DONORS = [f"pbmc:d{i}" for i in range(4)]


@pytest.fixture
def pbmc(sets):
    """Three cytokines and controls, four types, four donors."""
    types = ["B cell", "CD4 T", "CD14 monocyte", "NK"]
    return sets(
        *(
            {"type": t, "perturbation": p, "donor": d, "n": 40 + 7 * i, "id": f"cs_{p}_{t}_{d}"}
            for p in ("IFN-beta", "IFN-lambda1", "IL-4", None)
            for i, t in enumerate(types)
            for d in DONORS
        )
    )


def _ids(found: Candidates) -> list[str]:
    return [item.cell_set.cell_set_id for item in found.candidates]


def test_a_set_that_several_strategies_propose_is_kept_once_with_all_reasons(ask, pbmc) -> None:
    found = find_candidates(ask(), pbmc, SETTINGS)
    assert len(set(_ids(found))) == len(found.candidates)
    best = found.candidates[0]
    assert best.cell_set.cell_type_name == "B cell"
    assert best.cell_set.perturbation_name == "IFN-beta"
    assert best.strategy == "direct"
    assert best.relevance_score == 1
    assert best.strategies == ["direct", "semantic"]
    assert [reason.split(":")[0] for reason in best.rationale.split(" | ")] == ["direct", "semantic"]
    assert best.control is not None
    assert best.control.steps == []
    assert best.control.control_set.donor_id == best.cell_set.donor_id


def test_best_first_with_deterministic_ties(ask, pbmc) -> None:
    found = find_candidates(ask(), pbmc, SETTINGS)
    order = [(-item.relevance_score, -item.quality, item.cell_set.cell_set_id) for item in found.candidates]
    assert order == sorted(order)
    shuffled = pbmc.sample(frac=1, random_state=3)
    assert to_json(find_candidates(ask(), shuffled, SETTINGS)) == to_json(found)


def test_no_strategy_fills_the_list_before_another(ask, sets) -> None:
    many = [{"type": "B cell", "perturbation": "IFN-beta", "donor": f"pbmc:{i}", "id": f"m{i:04d}"} for i in range(500)]
    few = [{"type": "B cell", "perturbation": "IFN-lambda1", "id": "mechanistic"}]
    near = [{"type": "naive B cell", "perturbation": "IFN-beta", "id": "ontology"}]
    found = find_candidates(ask(), sets(*many, *few, *near, {"id": "control"}), SETTINGS)
    assert {"mechanistic", "ontology"} <= set(_ids(found))
    assert found.n_untried == 502
    assert len(found.candidates) < 250
    assert found.counts["direct"] == 501
    assert found.counts["ontology"] == 1


def test_tried_sets_are_left_out_and_counted_down_to_exhaustion(ask, pbmc) -> None:
    tried: set[str] = set()
    seen: list[str] = []
    total = find_candidates(ask(), pbmc, SETTINGS).n_untried
    while len(tried) < total:
        found = find_candidates(ask(), pbmc, SETTINGS, tried=tried)
        assert found.n_untried == total - len(tried)
        assert not tried & set(_ids(found))
        assert found.tried == sorted(tried)
        seen += _ids(found)[:10]
        tried |= set(_ids(found)[:10])
    assert len(seen) == len(set(seen)) == total
    with pytest.raises(RetrievalError, match=f"all {total} cell sets .* tried"):
        find_candidates(ask(), pbmc, SETTINGS, tried=tried)


def test_the_count_does_not_depend_on_hops_and_hops_widen_when_nothing_else_is_left(ask, sets) -> None:
    frame = sets(
        {"id": "query", "type": "classical monocyte", "donor": "a:1"},
        {"id": "parent", "type": "monocyte", "donor": "a:2", "tissue": None},
        {"id": "grand", "type": "myeloid leukocyte", "donor": "a:2", "tissue": None},
    )
    query = ask("classical monocyte", None, TaskType.DONOR_EXPRESSION_PREDICTION)
    narrow = Settings(retrieval={"strategies": ["ontology"], "max_hops": 1})
    found = find_candidates(query, frame, narrow)
    assert (_ids(found), found.n_untried) == (["parent"], 2)
    found = find_candidates(query, frame, narrow, tried={"parent"})
    assert (_ids(found), found.n_untried) == (["grand"], 1)
    wide = find_candidates(query, frame, narrow, Refinement(sentence="wider", max_hops=3))
    assert set(_ids(wide)) == {"parent", "grand"}


def test_refinement_reweights_and_prefers(ask, pbmc) -> None:
    def relevance(refinement: Refinement | None) -> dict[str, float]:
        found = find_candidates(ask(), pbmc, SETTINGS, refinement)
        assert found.refinement == refinement
        return {item.cell_set.cell_set_id: item.relevance_score for item in found.candidates}

    before = relevance(None)
    lambda_b, beta_nk = "cs_IFN-lambda1_B cell_pbmc:d0", "cs_IFN-beta_NK_pbmc:d0"
    weights = {"direct": 0.1, "semantic": 0.1, "mechanistic": 2.0}
    turned = relevance(Refinement(sentence="by mechanism", strategy_weights=weights))
    assert turned[lambda_b] > turned["cs_IFN-beta_B cell_pbmc:d0"]
    assert all(0 <= value <= 1 for value in turned.values())
    moved = relevance(Refinement(sentence="lambda", prefer_perturbations={"IFN-lambda1": 0.2}))
    assert moved[lambda_b] == pytest.approx(min(before[lambda_b] + 0.2, 1))
    moved = relevance(Refinement(sentence="NK", prefer_cell_types={"CL:0000623": 0.15}))
    assert moved[beta_nk] == pytest.approx(before[beta_nk] + 0.15)
    moved = relevance(Refinement(sentence="this one", prefer_cell_sets={beta_nk: 0.15, "cs_gone": 1}))
    assert moved[beta_nk] == pytest.approx(before[beta_nk] + 0.15)
    assert moved["cs_IFN-beta_NK_pbmc:d1"] == before["cs_IFN-beta_NK_pbmc:d1"]


def test_hold_outs_are_absolute(ask, pbmc) -> None:
    exclude = [CellFilter(cell_type=["B cell"], perturbation=["IFN-beta"]), CellFilter(donor=["d3"])]
    found = find_candidates(ask(), pbmc, Settings(retrieval={"exclude": exclude}))
    for item in found.candidates:
        for cell_set in (item.cell_set, item.control.control_set):
            assert cell_set.donor_id != "pbmc:d3"
            assert (cell_set.cell_type_name, cell_set.perturbation_name) != ("B cell", "IFN-beta")
    assert found.n_untried < find_candidates(ask(), pbmc, SETTINGS).n_untried


@pytest.fixture
def several(sets):
    """`tissue` without perturbations; `kang` and `parse` with IFN-beta; B cells everywhere."""
    return sets(
        {"id": "tissue_b", "atlas": "tissue"},
        {"id": "kang_done", "atlas": "kang", "perturbation": "IFN-beta"},
        {"id": "kang_b", "atlas": "kang"},
        {"id": "parse_done", "atlas": "parse", "perturbation": "IFN-beta"},
        {"id": "parse_b", "atlas": "parse", "n": 900},
    )


@pytest.mark.parametrize(
    ("named", "prompts", "query_atlas"),
    [
        (["Kang"], ["kang_done"], {"parse", "tissue"}),
        (["Kang", "Tissue"], ["kang_done"], {"tissue"}),
        (["Tissue", "Kang"], ["kang_done"], {"tissue"}),
        (["Tissue"], ["kang_done", "parse_done"], {"tissue"}),
        (["Kang", "Parse"], ["kang_done"], {"parse"}),
        (["Parse", "Kang"], ["parse_done"], {"kang"}),
        ([], ["kang_done", "parse_done"], {"kang", "parse", "tissue"}),
    ],
)
def test_hybrid_questions_take_prompts_and_query_cells_from_different_atlases(
    ask, several, named: list[str], prompts: list[str], query_atlas: set[str]
) -> None:
    from haystack.contracts import Ambiguity
    from haystack.retrieval.index import CellSetIndex
    from haystack.retrieval.query_cells import choose_query_sets
    from haystack.retrieval.question import Question

    more = [Ambiguity(field="reference_dataset", text=", ".join(named), alternatives=named)] if len(named) > 1 else []
    reference = named[0] if named else None
    query = ask(task=TaskType.CROSS_DATASET_GENERATION, reference_dataset=reference, ambiguities=more)
    index = CellSetIndex(several)
    tiers = choose_query_sets(Question(query, index, SETTINGS.retrieval)).tiers
    chosen = {index.label("atlas", row) for tier in tiers for row in tier}
    assert len(chosen) == 1
    assert chosen <= query_atlas
    found = find_candidates(query, several, SETTINGS)
    assert set(_ids(found)) == {name for name in prompts if not name.startswith(chosen.copy().pop())}


def test_hybrid_questions_that_cannot_be_answered(ask, several) -> None:
    query = ask(task=TaskType.CROSS_DATASET_GENERATION)
    with pytest.raises(RetrievalError, match="no other atlas holds prompts of IFN-beta"):
        find_candidates(query, several[several["atlas"] == "kang"], SETTINGS)
    with pytest.raises(RetrievalError, match="no atlas is called 'Tahoe'; the index holds kang, parse, tissue"):
        find_candidates(ask(task=TaskType.CROSS_DATASET_GENERATION, reference_dataset="Tahoe"), several, SETTINGS)
    lone = several[several["cell_set_id"].isin(["kang_b", "kang_done", "parse_done"])]
    with pytest.raises(RetrievalError, match="no atlas beside kang has unperturbed B cell; atlases that have: kang"):
        find_candidates(ask(task=TaskType.CROSS_DATASET_GENERATION, reference_dataset="Kang"), lone, SETTINGS)


def test_nothing_found_says_what_was_looked_for_and_what_there_is(ask, pbmc) -> None:
    with pytest.raises(RetrievalError) as caught:
        find_candidates(ask(perturbation="nonsensamab"), pbmc, SETTINGS)
    message = str(caught.value)
    for part in ("'nonsensamab'", "B cell", "64 cell sets", "pbmc", "IFN-beta", "IL-4", "direct, mechanistic"):
        assert part in message
    with pytest.raises(RetrievalError, match=r"no query cells: .* neuron \(CL:0000540\)") as caught:
        find_candidates(ask("neuron"), pbmc, SETTINGS)
    assert "It has unperturbed cells of: " in str(caught.value)
    assert "B cell" in str(caught.value).split("cells of: ")[1]
    with pytest.raises(RetrievalError, match=r"no query cells: .* unperturbed cells of no named type"):
        find_candidates(ask(), pbmc[~pbmc["is_control"]], SETTINGS)


def test_an_empty_index_is_an_error_too(ask, pbmc) -> None:
    with pytest.raises(RetrievalError, match="no query cells"):
        find_candidates(ask(), pbmc.iloc[:0], SETTINGS)
    with pytest.raises(RetrievalError, match="no query cells"):
        find_candidates(ask(), pbmc, Settings(retrieval={"exclude": [CellFilter(atlas="pbmc")]}))


def test_a_question_without_a_cell_type_takes_all(ask, pbmc) -> None:
    found = find_candidates(ask(None), pbmc, SETTINGS)
    assert found.counts["direct"] == 16
    assert {item.relevance_score for item in found.candidates if item.strategy == "direct"} == {1.0}


def test_a_label_without_a_cell_ontology_id_matches_itself(ask, sets) -> None:
    frame = sets(
        {"id": "same", "type": "Odd cells", "perturbation": "IFN-beta"},
        {"id": "other", "type": "Strange cells", "perturbation": "IFN-beta"},
        {"id": "control", "type": "odd cells"},
    )
    found = find_candidates(ask("odd cells"), frame, SETTINGS)
    same, other = found.candidates
    assert (same.cell_set.cell_set_id, same.relevance_score) == ("same", 1.0)
    assert other.relevance_score < 0.5


def test_retrieve_cells_reads_and_writes_files(ask, pbmc, tmp_path: Path) -> None:
    write_json(tmp_path / "query.json", ask())
    write_table(tmp_path / "cell_sets.parquet", pbmc, CELL_SETS)
    refinement = Refinement(sentence="by mechanism", strategy_weights={"direct": 0.2})
    grounding = Grounding(
        run_id="r",
        iteration=1,
        prompts=[],
        best_prompt_id=None,
        composite_value=None,
        refinement=refinement,
    )
    write_json(tmp_path / "grounding.json", grounding)
    out = tmp_path / "iter_2" / "candidates.json"
    retrieve_cells(
        tmp_path / "query.json",
        tmp_path / "cell_sets.parquet",
        tmp_path / "grounding.json",
        [],
        out,
        SETTINGS,
        "r",
        2,
    )
    found = read_json(out, Candidates)
    assert (found.run_id, found.iteration, found.refinement) == ("r", 2, refinement)


def test_the_answer_does_not_depend_on_the_hash_seed(ask, pbmc, tmp_path: Path) -> None:
    write_json(tmp_path / "query.json", ask())
    write_table(tmp_path / "cell_sets.parquet", pbmc, CELL_SETS)
    code = (
        "from haystack.retrieval import retrieve_cells; from haystack.config import Settings; import sys;"
        "retrieve_cells('query.json', 'cell_sets.parquet', None, [], sys.argv[1], Settings(), 'r', 1)"
    )
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, f"{seed}.json"], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_command_prints_json_or_words(pbmc, tmp_path: Path, capsys) -> None:
    import argparse

    from haystack.retrieval.commands import add_commands

    (tmp_path / "config.yaml").write_text("retrieval: {min_cells: 20}\n")
    write_table(tmp_path / "cell_sets.parquet", pbmc, CELL_SETS)
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    where = ["--config", str(tmp_path / "config.yaml"), "--index", str(tmp_path)]
    args = parser.parse_args(["retrieve", "How would B cells respond to IFN-beta?", "--top", "3", "--json", *where])
    assert args.run(args) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["candidates"]) == 3
    assert answer["query"]["perturbation_resolved"] == "IFN-beta"
    assert answer["candidates"][0]["cell_set"]["cell_type_name"] == "B cell"
    args = parser.parse_args(["retrieve", "How would B cells respond to IFN-beta?", "--top", "2", *where])
    assert args.run(args) == 0
    words = capsys.readouterr().out
    assert "control: 40 cells, matched" in words
    assert "direct: IFN-beta is the perturbation in question" in words
    args = parser.parse_args(["retrieve", "x", *where[:2], "--index", str(tmp_path / "nowhere")])
    with pytest.raises(RetrievalError, match="haystack index build"):
        args.run(args)


def test_controls_are_those_of_the_users_settings_beside_the_query_cells(ask, sets) -> None:
    frame = sets({"id": "prompt", "perturbation": "IFN-beta", "n": 90}, {"id": "control", "n": 30})
    few = Settings(prompting={"query_cells": 10, "prompt_cells": 20, "min_control_cells": 20})
    found = find_candidates(ask(), frame, few)
    assert [(part.cell_set.cell_set_id, part.n_cells) for part in found.query.sets] == [("control", 10)]
    assert found.candidates[0].control.control_set.cell_set_id == "control"
    more = Settings(prompting={"query_cells": 10, "prompt_cells": 20, "min_control_cells": 21})
    unpaired = find_candidates(ask(), frame, more)
    assert unpaired.query == found.query
    assert unpaired.candidates[0].control is None
    assert unpaired.candidates[0].quality < found.candidates[0].quality
