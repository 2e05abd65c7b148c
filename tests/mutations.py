"""Small faults in the source, each of which a test must notice: `make mutations`.

A mutation is one text in one file, another text in its place, and the test that must then fail. Each test passes
without its mutation. Everything happens in a copy of `src`, beside the real one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Mutation:
    """`old` becomes `new` in `src/haystack/{path}`; `test` must fail."""

    path: str
    old: str
    new: str
    test: str


MUTATIONS = [
    # How long a verified token is remembered.
    Mutation(
        "api/identity.py",
        "REMEMBERED_FOR = 60.0",
        "REMEMBERED_FOR = 600.0",
        "tests/api/test_api_identity.py::test_a_verified_token_is_remembered_for_a_minute",
    ),
    Mutation(
        "api/identity.py",
        'until = min(float(claims["exp"]), self._now() + REMEMBERED_FOR)',
        "until = self._now() + REMEMBERED_FOR",
        "tests/api/test_api_identity.py::test_a_remembered_token_expires",
    ),
    # What a rule's hash covers.
    Mutation(
        "codehash.py",
        "kept = [item for item in body if not _is_doc(item)]",
        "kept = body",
        "tests/unit/test_codehash.py::test_a_docstring_changes_nothing_and_a_number_does",
    ),
    Mutation(
        "codehash.py",
        'todo += [(plugin, "*") for plugin in _plugins().get(name[1:], [])]',
        "pass",
        "tests/unit/test_codehash.py::test_plug_ins_count_for_the_rules_that_use_their_registry",
    ),
    # A cancelled run predicts no more.
    Mutation(
        "workflow/scripts.py",
        'if snakemake.rule == "stack_inference" and cancelled.exists():',
        "if False:",
        "tests/unit/workflow/test_scripts.py::test_a_cancelled_run_predicts_no_more",
    ),
]


def passes(test: str, source: Path) -> bool:
    """Whether a test passes with the package in `source`; no such test is an error."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:randomly", "-p", "no:cacheprovider", test]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{test}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def main() -> int:
    """Try all mutations, or those of the files named as arguments; 1 if one survives."""
    wanted = [mutation for mutation in MUTATIONS if not sys.argv[1:] or mutation.path in sys.argv[1:]]
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(REPOSITORY / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        # The package reads its tables beside `src`.
        (Path(folder) / "resources").symlink_to(REPOSITORY / "resources")
        for test in dict.fromkeys(mutation.test for mutation in wanted):
            if not passes(test, source):
                faults.append(f"{test}: fails without any mutation")
        for mutation in wanted:
            path = source / "haystack" / mutation.path
            text = path.read_text(encoding="utf-8")
            if text.count(mutation.old) != 1:
                faults.append(
                    f"{mutation.path}: `{mutation.old}` stands there {text.count(mutation.old)} times, not once"
                )
                continue
            path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
            survived = passes(mutation.test, source)
            path.write_text(text, encoding="utf-8")
            print(
                f"{'SURVIVED' if survived else 'killed'}  {mutation.path}: {mutation.old} -> {mutation.new}", flush=True
            )
            if survived:
                faults.append(
                    f"{mutation.path}: `{mutation.new}` in place of `{mutation.old}` survives {mutation.test}"
                )
    print(*faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
