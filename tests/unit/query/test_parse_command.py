"""`haystack parse`, and what the rule writes."""

import argparse
import json
from pathlib import Path

import pytest

from haystack.config import QuerySettings
from haystack.contracts import StructuredQuery, read_json
from haystack.errors import QueryParsingError
from haystack.query import parse_question, write_query
from haystack.query.commands import add_commands

QUESTION = "How would lung fibroblasts respond to TGF-beta treatment?"


def run(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(required=True))
    args = parser.parse_args(argv)
    return int(args.run(args))


def test_json_is_the_structured_query(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("parse", QUESTION, "--json") == 0
    assert StructuredQuery.model_validate(json.loads(capsys.readouterr().out)) == parse_question(QUESTION)


def test_a_file_gives_one_entry_per_line_errors_included(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_text(f"{QUESTION}\nunicorn cells?\n\n{QUESTION}\n", encoding="utf-8")
    assert run("parse", "--file", str(questions), "--json") == 0
    first, second, third, last = json.loads(capsys.readouterr().out)
    assert first == last
    assert first["cell_type_cl_id"] == "CL:0002553"
    assert second["query"] == "unicorn cells?"
    assert second["error"]["type"] == "QueryParsingError"
    assert third["query"] == ""


def test_plain_output_names_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("parse", QUESTION) == 0
    assert "cells           fibroblast of lung  CL:0002553" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [("parse",), ("parse", "x", "--file", "y")])
def test_a_question_or_a_file(argv: tuple[str, ...]) -> None:
    with pytest.raises(QueryParsingError, match="either a question or --file"):
        run(*argv)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(QueryParsingError, match=r"absent\.txt: no such file"):
        run("parse", "--file", str(tmp_path / "absent.txt"))


def test_write_query_writes_the_contract_or_nothing(tmp_path: Path) -> None:
    out = tmp_path / "query.json"
    write_query(QUESTION, out, QuerySettings(), offline=True)
    assert read_json(out, StructuredQuery) == parse_question(QUESTION)
    with pytest.raises(QueryParsingError):
        write_query("unicorn cells?", tmp_path / "other.json", QuerySettings(), offline=True)
    assert not (tmp_path / "other.json").exists()
