"""Measure our work beside others' and write docs/performance.md.

    python -m benchmarks [--only rows index ...] [--before COMMIT]
    python -m benchmarks --quick --out page.md       tiny sizes: tries everything, means nothing

Needs the extras `stack`, `api` and `benchmarks` (peers). Parts that are not measured keep their place in the page. An
hour on two cores; contenders are called in turn, so ratios hold on a busy machine, but seconds do not.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import cells, evidence, inference, whole
from benchmarks.compare import OURS, Seconds, Work

PAGE = whole.REPOSITORY / "docs/performance.md"
RECORD = "<!-- measured: "
ROUNDS = 5
TABLES = {
    "stages": (
        "Stages",
        "CPU seconds of the jobs of two additive runs, as forks of the process that holds imports and tables: until "
        "the script begins; what a first call takes more than a second one; the second call.",
    ),
    "memory": (
        "Memory",
        "Peak of every rule with a model of Stack-Large's shape (random weights), K = 3 with controls, on a processor. "
        "Each holds about 0.4 GiB of imports and tables, which all share.",
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=[*PARTS], metavar="PART", help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--before", metavar="COMMIT", help=f"beside runs of this commit, such as {whole.BEFORE}")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    record = read_record(given.out)
    for name in given.only or PARTS:
        rounds = 1 if given.quick else given.rounds
        with tempfile.TemporaryDirectory() as folder:
            part = PARTS[name](Path(folder), given.quick, rounds, given.before)
            record[name] = [plain(item) for item in part]
        when = datetime.date.today().isoformat()
        load = round(os.getloadavg()[0], 1)
        record[name].append({"when": when, "commit": commit(), "rounds": rounds, "load": load})
        given.out.write_text(page(record), encoding="utf-8")
        print(f"{name}: done", file=sys.stderr, flush=True)
    return 0


def _table(folder: Path, quick: bool, rounds: int, before: str | None) -> Iterator[Any]:
    yield from whole.table(folder, 1 if quick else 6, rounds, before)


def _memory(folder: Path, quick: bool, rounds: int, before: str | None) -> Iterator[Any]:
    yield whole.memory(folder, 600 if quick else 3_000, inference.SMALL if quick else inference.SHAPE)


PARTS: dict[str, Callable[[Path, bool, int, str | None], Iterator[Any]]] = {
    "rows": lambda folder, quick, rounds, _: cells.rows(folder, 600 if quick else 100_000, rounds),
    "index": lambda folder, quick, rounds, _: cells.index(folder, 20_000 if quick else 10_000_000, rounds),
    "evidence": lambda folder, quick, rounds, _: evidence.evidence(
        folder, 32 if quick else 256, 2_000 if quick else 15_012, rounds
    ),
    "inference": lambda folder, quick, rounds, _: whole.generate(
        folder, inference.SMALL if quick else inference.SHAPE, rounds
    ),
    "service": lambda folder, quick, rounds, _: whole.service(2 if quick else 30, 1 if quick else 10),
    "table": _table,
    "stages": lambda folder, quick, rounds, _: iter([whole.stages(folder)]),
    "memory": _memory,
}
"""what can be measured: folder, quick?, rounds, commit before"""


def plain(item: Any) -> dict[str, Any]:
    """A result as JSON."""
    if isinstance(item, Work):
        return asdict(item)
    return {"rules": {rule: stage._asdict() for rule, stage in item.items()}}


def read_record(path: Path) -> dict[str, list[dict[str, Any]]]:
    """What a page holds; nothing where there is none."""
    if not path.exists() or RECORD not in (text := path.read_text(encoding="utf-8")):
        return {}
    return json.loads(text.rpartition(RECORD)[2].rpartition(" -->")[0])


def commit() -> str:
    """What is checked out here, for the reader of a figure."""
    said = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return said.stdout.strip() or "an unknown commit"


def page(record: dict[str, list[dict[str, Any]]]) -> str:
    """The page in Markdown, with all figures at its end for the next call."""
    works = [Work(**{**item, "times": {n: Seconds(**t) for n, t in item["times"].items()}})
             for name in PARTS for item in record.get(name, []) if "name" in item]  # fmt: skip
    told = "{}: {when}, {commit}, rounds: {rounds}, load {load:g}"
    when = "; ".join(told.format(n, **{"commit": "an earlier commit", **record[n][-1]}) for n in record)
    lines = [
        "# Performance",
        "",
        "Written by `python -m benchmarks`: "
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}. "
        "Medians of rounds in which the contenders took turns, after a call to warm up (not for whole runs and "
        "processes). Ratios above 1: ours takes less CPU. Other work on the machine hits all contenders alike, so "
        "ratios hold where seconds do not "
        f"(measured: {when}).",
        "",
        "| work | ours, CPU s (wall s) | best peer, CPU s (wall s) | ratio | goal | bound by | what is left |",
        "|---|---|---|---|---|---|---|",
        *(_row(work) for work in works),
    ]
    for name, (title, note) in TABLES.items():
        if name in record:
            lines += ["", f"## {title}", "", note, "", *_rules(record[name][0]["rules"], memory=name == "memory")]
    return "\n".join([*lines, "", f"{RECORD}{json.dumps(record)} -->", ""])


def _row(work: Work) -> str:
    best = "" if work.best is None else f"{work.best}: {_shown(work.times[work.best])}"
    ratio = "" if work.ratio is None else f"{work.ratio:.2g}"
    return f"| {work.name} | {_shown(work.times[OURS])} | {best} | {ratio} | {work.goal} | {work.bound} | {work.left} |"


def _shown(time: Seconds) -> str:
    return f"{time.cpu:.3g} ({time.wall:.3g})"


def _rules(rules: dict[str, dict[str, float]], *, memory: bool) -> list[str]:
    if memory:
        return ["| rule | GiB |", "|---|---|", *(f"| {rule} | {found['peak']:.2f} |" for rule, found in rules.items())]
    parts = ("start", "imports", "work")
    rows = [f"| {rule} | " + " | ".join(f"{found[part]:.2f}" for part in parts) + " |" for rule, found in rules.items()]
    return ["| rule | start | imports | work |", "|---|---|---|---|", *rows]


if __name__ == "__main__":
    sys.exit(main())
