"""`haystack parse`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haystack.errors import HaystackError, QueryParsingError
from haystack.resources import uncollected

if TYPE_CHECKING:
    from haystack.contracts.query import StructuredQuery


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `parse`."""
    parser = subparsers.add_parser("parse", help="show how a question is understood: entities and doubts")
    parser.add_argument("question", nargs="?", help="in plain words")
    parser.add_argument("--file", type=Path, help="a text file with one question per line")
    parser.add_argument("--json", action="store_true", help="print all fields as JSON")
    parser.add_argument("--strict", action="store_true", help="refuse ambiguous questions, as for a table of runs")
    parser.set_defaults(run=_parse)


def _parse(args: argparse.Namespace) -> int:
    if (args.question is None) == (args.file is None):
        raise QueryParsingError("give either a question or --file with one question per line")
    with uncollected():
        return _answer(args)


def _answer(args: argparse.Namespace) -> int:
    from haystack.query import parse_question

    read: Callable[[str], StructuredQuery] = parse_question
    if args.strict:
        from haystack.config import QuerySettings
        from haystack.query import parse_run

        read = partial(parse_run, settings=QuerySettings())
    if args.file is None:
        query = read(args.question).model_dump(mode="json")
        print(json.dumps(query, ensure_ascii=False, indent=2, allow_nan=False) if args.json else _readable(query))
        return 0
    answers: list[dict[str, Any]] = []
    for question in _lines(args.file):
        try:
            answers.append(read(question).model_dump(mode="json"))
        except HaystackError as error:
            answers.append({"query": question, "error": {"type": type(error).__name__, "message": str(error)}})
    if args.json:
        print(json.dumps(answers, ensure_ascii=False, indent=2, allow_nan=False))
    else:
        for answer in answers:
            print(
                _readable(answer)
                if "error" not in answer
                else f"{answer['query']}\n  error: {answer['error']['message']}"
            )
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise QueryParsingError(f"{path}: no such file") from None
    except (UnicodeDecodeError, OSError) as error:
        raise QueryParsingError(f"{path}: not a text file in UTF-8 ({error})") from None


def _readable(query: dict[str, Any]) -> str:
    """A compact table: the question, how it was understood, and what is in doubt."""
    asked = query["asked"]
    cells, sample = asked["cells"], asked["context"]
    rows = [("task", query["task_type"].replace("_", " "), "")]
    rows += [("perturbation", item["name"], item["type"] or "") for item in asked["perturbations"]]
    rows += [
        ("cells", cells["name"] or cells["query"], cells["cl_id"]),
        ("tissue", sample["tissue_name"], sample["tissue_uberon_id"]),
        ("disease", sample["disease_name"], sample["disease_mondo_id"]),
        *((name, sample[f"{name}_id"], "") for name in ("donor", "reference_donor")),
        ("condition", sample["condition"], ""),
        ("dose", asked["dose"], ""),
        ("time", asked["time"], ""),
    ]
    for item in query["ambiguities"]:
        rows.append(("ambiguous", item["text"], "also: " + ", ".join(item["alternatives"][1:4])))
    rows += [("warning", text, "") for text in query["warnings"]]
    rows.append(("not understood", ", ".join(query["not_understood"]) or None, ""))
    shown = [(name.replace("_", " "), value, note or "") for name, value, note in rows if value]
    width = max((len(value) for _, value, note in shown if note), default=0)
    return "\n".join(
        [query["raw_query"], *(f"  {name:<16}{value:<{width}}  {note}".rstrip() for name, value, note in shown)]
    )
