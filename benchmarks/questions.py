"""Parse the tracked questions and compare field by field; prints a table and every difference.

Usage: python benchmarks/questions.py [questions.jsonl]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from haystack.errors import QueryParsingError
from haystack.query import parse_question

QUESTIONS = Path(__file__).parents[1] / "tests" / "data" / "questions.jsonl"


def differences(expected: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Field -> (expected, found), for the fields that differ."""
    try:
        query = parse_question(expected["question"])
    except QueryParsingError as error:
        return {} if "error" in expected else {"error": (None, str(error))}
    if "error" in expected:
        return {"error": (expected["error"], f"{query.cell_type_query} -> {query.cell_type_name}")}
    wrong: dict[str, tuple[Any, Any]] = {}
    for name, value in expected.items():
        if name in {"question", "note"}:
            continue
        found: Any
        if name == "cell_type_cl_id":
            if query.cell_type_cl_id not in value:
                wrong[name] = (value, f"{query.cell_type_cl_id} {query.cell_type_name}")
            continue
        if name == "perturbations":
            found = [item.name for item in query.perturbations]
        elif name == "ambiguous":
            found = bool(query.ambiguities)
        elif name == "task_type":
            found = query.task_type.value
        elif name == "control_strategy":
            found = query.control_strategy.value if query.control_strategy else None
        else:
            found = getattr(query, name)
        if found != value:
            wrong[name] = (value, found)
    return wrong


def main(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    whole = 0
    start = time.perf_counter()
    for row in rows:
        wrong = differences(row)
        whole += not wrong
        for name in row.keys() - {"question", "note"}:
            asked[name] += 1
            right[name] += name not in wrong and "error" not in wrong.keys() - row.keys()
        if wrong:
            print(row["question"][:100])
            for name, (expected, found) in wrong.items():
                print(f"    {name}: expected {expected}, found {found}")
    seconds = time.perf_counter() - start
    print(f"\n{'field':<24}{'right':>8}{'asked':>8}{'share':>8}")
    for name in sorted(asked):
        print(f"{name:<24}{right[name]:>8}{asked[name]:>8}{right[name] / asked[name]:>8.1%}")
    print(f"{'whole question':<24}{whole:>8}{len(rows):>8}{whole / len(rows):>8.1%}")
    print(f"{1000 * seconds / len(rows):.1f} ms per question")
    print(f"\n{'cold haystack parse':<24}{'wall s':>8}{'cpu s':>8}")
    for run in range(1, 4):
        wall, cpu = cold(str(rows[0]["question"]))
        print(f"{f'run {run}':<24}{wall:>8.2f}{cpu:>8.2f}")


def cold(question: str) -> tuple[float, float]:
    """Wall and processor seconds of one `haystack parse` from the shell."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "haystack.cli", "parse", question, "--json"], check=True, stdout=subprocess.DEVNULL
    )
    wall, after = time.perf_counter() - start, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else QUESTIONS)
