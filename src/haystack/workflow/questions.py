"""Whether questions are understood, found out in a process of its own.

What a parser loads (ontologies, tables of knowledge: 80 MiB) would stay in the coordinator as long as its runs last.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from haystack.errors import HaystackError


def misunderstood(questions: Iterable[tuple[str, str, dict[str, Any]]]) -> list[str]:
    """What is wrong, a line per question that cannot be parsed.

    Parameters
    ----------
    questions
        (run_id, question, settings of the section `query`).

    Raises
    ------
    HaystackError
        when they could not be looked at.
    """
    command = [sys.executable, "-m", "haystack.workflow.questions"]
    done = subprocess.run(command, input=json.dumps(list(questions)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise HaystackError(f"the questions could not be checked: {done.stderr.strip()[-2000:]}")
    found: list[str] = json.loads(done.stdout)
    return found


def main() -> None:
    """Questions as JSON on standard input, problems as JSON on standard output."""
    from haystack.config import QuerySettings
    from haystack.query import parse_run

    problems = []
    for run_id, question, settings in json.load(sys.stdin):
        try:
            parse_run(question, QuerySettings.model_validate(settings), offline=True)
        except HaystackError as error:
            problems.append(f"run {run_id}: {error}")
    json.dump(problems, sys.stdout)


if __name__ == "__main__":
    main()
