"""The tracked questions parse as a person would read them."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from haystack.contracts import TaskType, to_json
from haystack.query import parse_question

ROOT = Path(__file__).parents[3]
QUESTIONS = [
    json.loads(line) for line in (ROOT / "tests/data/questions.jsonl").read_text(encoding="utf-8").splitlines()
]
# Written in the voices of many biologists and answered before the parser had read them.
OWN = [json.loads(line) for line in (ROOT / "tests/data/questions_own.jsonl").read_text(encoding="utf-8").splitlines()]


def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("questions_benchmark", ROOT / "benchmarks" / "questions.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("expected", QUESTIONS, ids=[row["question"][:60] for row in QUESTIONS])
def test_question(expected: dict[str, object]) -> None:
    assert benchmark().differences(expected) == {}


@pytest.mark.parametrize("row", OWN, ids=[row["query"][:60] for row in OWN])
def test_question_in_another_voice_is_read_in_every_field(row: dict[str, Any]) -> None:
    verdict, wrong = benchmark().judge(row)
    assert verdict == "right", wrong


def test_a_recorded_language_model_makes_no_right_reading_wrong() -> None:
    parse = benchmark().with_proposals(ROOT / "tests/data/proposals_own.json")
    verdicts = [benchmark().judge(row, parse)[0] for row in OWN]
    assert verdicts.count("right") == len(OWN)


def test_the_set_is_large_and_covers_every_task_type() -> None:
    assert len(QUESTIONS) >= 120
    assert {row["task_type"] for row in QUESTIONS if "task_type" in row} == {task.value for task in TaskType}


def test_offsets_point_at_the_words() -> None:
    for row in QUESTIONS:
        if "error" in row:
            continue
        query = parse_question(str(row["question"]))
        text = query.raw_query
        for evidence in query.evidence:
            if evidence.start is not None:
                assert text[evidence.start : evidence.end] == evidence.text, (text, evidence)


def test_the_same_question_gives_the_same_bytes() -> None:
    question = "How would lung fibroblasts of donor D3 respond to 10 ng/ml TGF-beta for 24 h?"
    assert to_json(parse_question(question)) == to_json(parse_question(question))
