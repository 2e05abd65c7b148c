"""Check in a separate process whether questions are understood.

The parser's data (ontologies, knowledge tables: 80 MiB) would otherwise stay in the coordinator's memory.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from haystack.codehash import code_hash
from haystack.errors import HaystackError
from haystack.files import write_text

UNDERSTOOD = Path(".snakemake/haystack_understood.json")
"""digests of question, settings and code of questions understood at an earlier start"""


def misunderstood(questions: Iterable[tuple[str, str, dict[str, Any]]]) -> list[str]:
    """Problems, one line per question that cannot be parsed.

    A question understood at an earlier start is parsed again only if its settings or the parser changed.

    Parameters
    ----------
    questions
        (run_id, question, settings of the section `query`).

    Raises
    ------
    HaystackError
        if they could not be checked.
    """
    code = code_hash("haystack.query.parse_run")
    asked = {_digest(code, question): question for question in questions}
    try:
        known = set(json.loads(UNDERSTOOD.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        known = set()
    new = {digest: question for digest, question in asked.items() if digest not in known}
    problems = _parse(list(new.values())) if new else {}
    with suppress(OSError):  # a folder that cannot be written
        write_text(UNDERSTOOD, json.dumps([digest for digest, (run_id, *_) in asked.items() if run_id not in problems]))
    return list(problems.values())


def _digest(code: str, question: tuple[str, str, dict[str, Any]]) -> str:
    text = json.dumps([code, *question], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _parse(questions: list[tuple[str, str, dict[str, Any]]]) -> dict[str, str]:
    """run_id -> problem with its question."""
    command = [sys.executable, "-m", "haystack.workflow.questions"]
    done = subprocess.run(command, input=json.dumps(questions), capture_output=True, text=True, check=False)
    if done.returncode:
        # The signal that ended it, or what it said.
        killed = subprocess.CalledProcessError(done.returncode, command) if done.returncode < 0 else None
        raise HaystackError(f"the questions could not be checked: {killed or done.stderr.strip()[-2000:]}")
    problems: dict[str, str] = json.loads(done.stdout)
    return problems


def main() -> None:
    """Read questions as JSON from standard input, write problems as JSON to standard output."""
    from haystack.config import QuerySettings
    from haystack.query import parse_run

    problems = {}
    for run_id, question, settings in json.load(sys.stdin):
        try:
            parse_run(question, QuerySettings.model_validate(settings), offline=True)
        except HaystackError as error:
            problems[run_id] = f"run {run_id}: {error}"
    json.dump(problems, sys.stdout)


if __name__ == "__main__":
    main()
