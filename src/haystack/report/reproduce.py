"""Repeat a run from its log in a new folder, and compare."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from haystack.contracts import read_json
from haystack.contracts.runlog import RunLog
from haystack.errors import ConfigError, HaystackError
from haystack.report.differences import describe_difference
from haystack.report.provenance import checksum
from haystack.report.reproduce_folder import prepare_folder

COMPOSITE_TOLERANCE = 0.3
"""largest difference of composites between devices"""


class ReproductionError(HaystackError):
    """A run could not be repeated."""


@dataclass(frozen=True)
class Comparison:
    """Differences between two runs of one question."""

    identical: list[str]
    """outputs with equal bytes"""
    different: list[str]
    """outputs whose bytes differ or that only one run has"""
    decisions: list[str]
    """differences of decisions, in plain words"""
    composites: list[str]
    """composites that differ by more than the tolerance, in plain words"""
    environment: list[str]
    """versions and inputs that differ and may explain the rest"""
    details: dict[str, str] = field(default_factory=dict)
    """output -> how its content differs, if both files can be read"""
    folder: Path | None = None
    """folder of the repeated run"""

    @property
    def same(self) -> bool:
        """Reproducibility guaranteed across devices: same decisions, composites within the tolerance."""
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
        for name in ("continue_", "reason", "best_iteration", "best_prompt_id"):
            first, second = getattr(before.decision, name), getattr(after.decision, name)
            if first != second:
                decisions.append(f"iteration {before.iteration}, {name.rstrip('_')}: {first}, now {second}")
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
    """Inputs outside `results` that changed since the log was written, in plain words."""
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
        folder with `workflow/Snakefile`, to which the paths of the settings are relative.
    folder
        where the run is repeated; its `results` are new, everything else is linked to `root`. If settings or atlases
        name files outside of `root` by relative paths, the pipeline's folder is made inside this one.
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
        raise ReproductionError(f"{log_path}: the run cannot be repeated: {'; '.join(problems)}")
    work = prepare_folder(log, root, folder)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile.resolve())]
    command += ["--directory", str(work), "--cores", str(cores)]
    code = (run or _run)(command)
    if code:
        raise ReproductionError(f"{work}: the pipeline failed with exit code {code}; its logs are in {work / 'logs'}")
    again = work / "results" / "runs" / log.run_id / f"{log.run_id}_log.json"
    found = compare_logs(log, read_json(again, RunLog))
    return replace(found, details=_details(log, log_path.parent, again.parent, found.different), folder=work)


def _details(log: RunLog, before: Path, after: Path, names: Sequence[str]) -> dict[str, str]:
    """How outputs differ. A file beside the log is used only if its checksum is the logged one."""
    differences = {}
    for name in names:
        first, second = before / name, after / name
        if first.is_file() and second.is_file() and checksum(first).sha256 == log.outputs.get(name):
            differences[name] = describe_difference(first, second)
    return differences


def _run(command: Sequence[str]) -> int:
    return subprocess.run(list(command), check=False).returncode
