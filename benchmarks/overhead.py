"""What the workflow costs beside the stages: wall time of the demo run minus the time inside the stages' own functions.

Run: python benchmarks/overhead.py. Prints JSON. The demo is `make run`: simulated atlases, the tiny model.
Stages overlap on two cores, so their time is the time in which at least one of them works (not their sum, which would
hide overhead). The limit is a quarter of the wall time or 15 s, whichever is larger.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TIMED = '''
from contextlib import contextmanager


@contextmanager
def timed(snakemake):
    """Write when the stage's own function began and ended."""
    import json
    import time

    begin = time.time()
    try:
        yield
    finally:
        with open("stages.jsonl", "a") as handle:
            handle.write(json.dumps([snakemake.rule, begin, time.time()]) + "\\n")


'''
LIMIT_SHARE, LIMIT_SECONDS = 0.25, 15.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="profiles/local")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("workflow", "config", "profiles", "resources"):
            shutil.copytree(REPOSITORY / part, folder / part)
        for script in (folder / "workflow/scripts").glob("*.py"):
            text = script.read_text()
            changed = text.replace(
                "with script_logging(snakemake):", "with script_logging(snakemake), timed(snakemake):"
            )
            assert changed != text, f"{script}: does not call its stage in script_logging"
            script.write_text(TIMED + changed)
        begin = time.time()
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--profile", args.profile],
            cwd=folder,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        wall = time.time() - begin
        if done.returncode:
            print(done.stdout, done.stderr, file=sys.stderr)
            return 1
        stages = [json.loads(line) for line in (folder / "stages.jsonl").read_text().splitlines()]
    inside = union([(begin, end) for _, begin, end in stages])
    limit = max(LIMIT_SHARE * wall, LIMIT_SECONDS)
    by_rule: dict[str, float] = {}
    for rule, begin, end in stages:
        by_rule[rule] = round(by_rule.get(rule, 0) + end - begin, 2)
    result = {
        "wall_s": round(wall, 1),
        "jobs": len(stages),
        "in_stages_s": round(inside, 1),
        "overhead_s": round(wall - inside, 1),
        "overhead_share": round((wall - inside) / wall, 3),
        "limit_s": round(limit, 1),
        "within_limit": wall - inside <= limit,
        "seconds_by_rule": by_rule,
    }
    print(json.dumps(result, indent=2))
    return 0 if result["within_limit"] else 1


def union(intervals: list[tuple[float, float]]) -> float:
    """Length of the time that at least one interval covers."""
    total, reached = 0.0, 0.0
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


if __name__ == "__main__":
    sys.exit(main())
