"""Repeat a run from its log, in a folder of its own, and compare."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from haystack.contracts import read_json
from haystack.contracts.runlog import RunLog
from haystack.errors import ConfigError, HaystackError
from haystack.files import write_text
from haystack.report.provenance import checksum

COMPOSITE_TOLERANCE = 0.3
"""across devices, composites may differ by this much"""
NOT_LINKED = {"results", "logs"}


class ReproductionError(HaystackError):
    """A run could not be repeated."""


@dataclass(frozen=True)
class Comparison:
    """How two runs of one question compare."""

    identical: list[str]
    """outputs with equal bytes"""
    different: list[str]
    """outputs whose bytes differ or that only one run has"""
    decisions: list[str]
    """differences of decisions, in plain words"""
    composites: list[str]
    """composites further apart than the tolerance, in plain words"""
    environment: list[str]
    """versions and inputs that differ: what may explain the rest"""

    @property
    def same(self) -> bool:
        """The promise of the pipeline across devices: the same decisions, composites within the tolerance."""
        return not self.decisions and not self.composites


def compare_logs(old: RunLog, new: RunLog) -> Comparison:
    """Compare outputs by checksum, decisions by value, composites within 0.3; `timing` is left out."""
    names = sorted(set(old.outputs) | set(new.outputs))
    equal = [name for name in names if old.outputs.get(name) == new.outputs.get(name)]
    decisions = []
    if len(old.iterations) != len(new.iterations):
        decisions.append(f"iterations: {len(old.iterations)}, now {len(new.iterations)}")
    composites = []
    for before, after in zip(old.iterations, new.iterations, strict=False):
        for field in ("continue_", "reason", "best_iteration", "best_prompt_id"):
            first, second = getattr(before.decision, field), getattr(after.decision, field)
            if first != second:
                decisions.append(f"iteration {before.iteration}, {field.rstrip('_')}: {first}, now {second}")
        composites += _composite_changes(
            before.iteration, before.grounding.composite_value, after.grounding.composite_value
        )
    return Comparison(
        identical=equal,
        different=[name for name in names if name not in set(equal)],
        decisions=decisions,
        composites=composites,
        environment=_environment_changes(old, new),
    )


def _composite_changes(iteration: int, first: float | None, second: float | None) -> list[str]:
    if first is None or second is None:
        return [] if first is second else [f"iteration {iteration}: {first}, now {second}"]
    return (
        [] if abs(first - second) <= COMPOSITE_TOLERANCE else [f"iteration {iteration}: {first:.3f}, now {second:.3f}"]
    )


def _environment_changes(old: RunLog, new: RunLog) -> list[str]:
    changes = []
    for name in sorted(set(old.versions) | set(new.versions)):
        if old.versions.get(name) != new.versions.get(name):
            changes.append(f"{name} {old.versions.get(name, 'absent')}, now {new.versions.get(name, 'absent')}")
    for name in sorted(set(old.inputs) & set(new.inputs)):
        if old.inputs[name].sha256 != new.inputs[name].sha256:
            changes.append(f"input {name} ({old.inputs[name].path}) has other content")
    return changes


def changed_inputs(log: RunLog, root: Path) -> list[str]:
    """Inputs of the log that are outside `results` and no longer what they were, in plain words."""
    problems = []
    for name, before in log.inputs.items():
        if before.sha256 is None or Path(before.path).parts[:1] == ("results",):
            continue
        now = checksum(root / before.path)
        if now.sha256 is None:
            problems.append(f"{name}: {before.path} is not there")
        elif now.sha256 != before.sha256:
            problems.append(f"{name}: {before.path} has other content than then")
    return problems


def reproduce(
    log_path: Path,
    root: Path,
    folder: Path,
    cores: int,
    run: Callable[[Sequence[str]], int] | None = None,
) -> Comparison:
    """Repeat the run of a log and compare.

    Parameters
    ----------
    log_path
        `{run_id}_log.json`.
    root
        folder with `workflow/Snakefile`, where the relative paths of the settings start.
    folder
        where the run is repeated; its `results` are new, everything else is linked to `root`.
    run
        runs a command and returns its exit code; the default starts Snakemake.

    Raises
    ------
    ReproductionError
        if an input is gone or has changed, or the pipeline failed.
    ConfigError
        if `root` is not the pipeline's folder.
    """
    log = read_json(log_path, RunLog)
    snakefile = root / "workflow" / "Snakefile"
    if not snakefile.exists():
        raise ConfigError(f"{snakefile}: no such file. Run this in the folder of the pipeline")
    problems = changed_inputs(log, root)
    if problems:
        raise ReproductionError(f"{log_path}: the run cannot be repeated as it was: {'; '.join(problems)}")
    prepare_folder(log, root, folder)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile.resolve())]
    command += ["--directory", str(folder), "--cores", str(cores)]
    code = (run or _run)(command)
    if code:
        raise ReproductionError(
            f"{folder}: the pipeline failed with exit code {code}; its logs are in {folder / 'logs'}"
        )
    again = folder / "results" / "runs" / log.run_id / f"{log.run_id}_log.json"
    return compare_logs(log, read_json(again, RunLog))


def prepare_folder(log: RunLog, root: Path, folder: Path) -> None:
    """Links to everything of `root` but its results, and a config with the log's settings and its one question."""
    config = folder / "config"
    config.mkdir(parents=True, exist_ok=True)
    for item in sorted(root.iterdir()):
        if item.name not in NOT_LINKED | {"config"} and not item.name.startswith("."):
            _link(folder / item.name, item)
    for item in sorted((root / "config").iterdir()):
        if item.name not in {"config.yaml", "runs.tsv"}:
            _link(config / item.name, item)
    data_dir = str((root / log.settings["data_dir"]).resolve())
    settings = log.settings | {"runs": "config/runs.tsv", "data_dir": data_dir}
    write_text(config / "config.yaml", json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    question = " ".join(log.query.raw_query.split())
    write_text(config / "runs.tsv", f"run_id\tquery\n{log.run_id}\t{question}\n")


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target.resolve())


def _run(command: Sequence[str]) -> int:
    return subprocess.run(list(command), check=False).returncode
