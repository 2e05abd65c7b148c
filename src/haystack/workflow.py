"""What the Snakefile needs: settings per rule, input functions, checks before work starts, logging of scripts.

Everything here is light (standard library and pydantic) until a check or a job really runs.
"""

from __future__ import annotations

import ast
import hashlib
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from haystack.config import AtlasEntry, Settings, load_atlases, load_settings
from haystack.contracts import Decision, read_json
from haystack.errors import ConfigError, HaystackError
from haystack.runs import Run, read_runs

PACKAGE = Path(__file__).parent
MODEL_FILES = {
    "weights": "model.safetensors",
    "config": "config.json",
    "genes": "genes.txt",
    "provenance": "provenance.json",
}
UNHASHED = {"config", "errors", "files", "__init__"}
"""modules whose edits change no result: settings arrive as params, the others only carry words and bytes"""
RESOURCES = {"ontology": ["ontology"], "knowledge": ["knowledge"], "demo": ["demo/genes.tsv"]}
"""tracked tables that a package reads by itself (those named in the config are inputs of their rules)"""


class Wildcards(Protocol):
    """Snakemake's wildcards, or a SimpleNamespace in tests."""

    run_id: str
    iteration: str


class Plan:
    """The validated config, turned into what rules ask for. `plan` in the Snakefile."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.settings = load_settings(config)
        self.atlases = load_atlases(self.settings)
        self.runs: dict[str, Run] = {run.run_id: run for run in read_runs(config, self.settings)}

    # -- wildcards ---------------------------------------------------------------------------------------------------

    @property
    def run_ids(self) -> list[str]:
        """Ids in the order of the table."""
        return list(self.runs)

    @property
    def run_pattern(self) -> str:
        """Regular expression for the wildcard run_id: the listed runs and nothing else."""
        return "|".join(re.escape(run_id) for run_id in self.runs)

    @property
    def atlas_pattern(self) -> str:
        """Regular expression for the wildcard atlas."""
        return "|".join(re.escape(name) for name in self.atlases)

    # -- params ------------------------------------------------------------------------------------------------------

    def query(self, wildcards: Wildcards) -> str:
        """The question of a run."""
        return self.runs[wildcards.run_id].query

    def get(self, *sections: str) -> Callable[[Wildcards], dict[str, Any]]:
        """A params function: the run's effective settings, only the named top-level ones, as plain values."""

        def settings_of_run(wildcards: Wildcards) -> dict[str, Any]:
            effective = self.runs[wildcards.run_id].settings
            return effective.model_dump(mode="json", include=set(sections))

        return settings_of_run

    def effective(self, wildcards: Wildcards) -> dict[str, Any]:
        """All effective settings of a run, for its log."""
        return self.runs[wildcards.run_id].settings.model_dump(mode="json")

    def questions(self) -> dict[str, str]:
        """run_id -> question, in the order of the table."""
        return {run.run_id: run.query for run in self.runs.values()}

    def training(self, wildcards: Any = None) -> dict[str, Any] | None:
        """How the model is trained."""
        train = self.settings.model.train
        return train.model_dump(mode="json") if train else None

    def holdouts(self, wildcards: Any = None) -> list[dict[str, Any]]:
        """Cells that neither training nor retrieval may see."""
        train = self.settings.model.train
        filters = [*self.settings.retrieval.exclude, *(train.exclude if train else [])]
        return [item.model_dump(mode="json") for item in filters]

    def atlas_entry(self, wildcards: Any) -> dict[str, Any]:
        """The entry of one atlas as plain values."""
        return self.atlases[wildcards.atlas].model_dump(mode="json")

    def atlas_entries(self) -> dict[str, dict[str, Any]]:
        """All entries as plain values, by name."""
        return {name: entry.model_dump(mode="json") for name, entry in self.atlases.items()}

    def code(self, *packages: str) -> str:
        """Hash of the modules (and their tables) that a rule runs, so that editing the science reruns it."""
        return code_hash(*packages)

    # -- inputs ------------------------------------------------------------------------------------------------------

    def atlas_file(self, wildcards: Any) -> list[str]:
        """The atlas itself, and the corrected labels where a person wrote some; nothing for a remote atlas."""
        entry = self.atlases[wildcards.atlas]
        return _local(entry.path) + ([entry.mapping] if entry.mapping else [])

    def atlas_files(self, wildcards: Any = None) -> list[str]:
        """All local atlases in use."""
        return [path for entry in self.atlases.values() for path in _local(entry.path)]

    def cells_tables(self, wildcards: Any = None) -> list[str]:
        """Harmonised cells of all atlases in use."""
        return [f"results/index/{name}/cells.parquet" for name in self.atlases]

    def model_dir(self) -> Path | None:
        """Folder of the model; null for a baseline."""
        model = self.settings.model
        if model.kind != "stack":
            return None
        return Path(model.path) if model.path else Path("results/model") / model.name

    def model_files(self, wildcards: Any = None) -> list[str]:
        """The model's files; none for a baseline."""
        folder = self.model_dir()
        return [(folder / name).as_posix() for name in MODEL_FILES.values()] if folder else []

    def training_tables(self, wildcards: Any = None) -> list[str]:
        """Harmonised cells of the atlases that the model is trained on."""
        return [f"results/index/{name}/cells.parquet" for name in self._training_atlases()]

    def training_files(self, wildcards: Any = None) -> list[str]:
        """Local atlases that the model is trained on."""
        return [path for name in self._training_atlases() for path in _local(self.atlases[name].path)]

    def _training_atlases(self) -> list[str]:
        train = self.settings.model.train
        if train is None:
            return []
        unknown = [name for name in train.atlases if name not in self.atlases]
        if unknown:
            raise ConfigError(f"config: model.train.atlases: unknown atlas '{unknown[0]}'; in use: {', '.join(self.atlases)}")
        return train.atlases

    def library_files(self, wildcards: Wildcards) -> list[str]:
        """Gene set libraries, and the regulon and network tables where given."""
        settings = self.runs[wildcards.run_id].settings
        optional = [settings.enrichment.regulons, settings.grounding.network]
        return [*settings.enrichment.libraries.values(), *(path for path in optional if path)]

    def previous_prompts(self, wildcards: Wildcards) -> list[str]:
        """`prompts.json` of every earlier iteration: what has been tried."""
        return [f"results/runs/{wildcards.run_id}/iter_{i}/prompts.json" for i in range(1, int(wildcards.iteration))]

    def previous_grounding(self, wildcards: Wildcards) -> list[str]:
        """`grounding.json` of the last iteration, which carries the refinement; nothing for the first."""
        i = int(wildcards.iteration)
        return [f"results/runs/{wildcards.run_id}/iter_{i - 1}/grounding.json"] if i > 1 else []

    def groundings(self, wildcards: Wildcards) -> list[str]:
        """`grounding.json` of iterations 1..i."""
        return [
            f"results/runs/{wildcards.run_id}/iter_{i}/grounding.json" for i in range(1, int(wildcards.iteration) + 1)
        ]

    def every_iteration(self, checkpoints: Any, name: str) -> Callable[[Wildcards], list[str]]:
        """An input function: the file `name` of every iteration, until a checkpoint says stop."""

        def files(wildcards: Wildcards) -> list[str]:
            return [f"{path.parent.as_posix()}/{name}" for path in _decisions(checkpoints, wildcards)]

        return files

    def best_iteration(self, checkpoints: Any, name: str) -> Callable[[Wildcards], str]:
        """An input function: the file `name` of the best iteration (the first, where none could be scored)."""

        def file(wildcards: Wildcards) -> str:
            last = _decisions(checkpoints, wildcards)[-1]
            best = read_json(last, Decision).best_iteration or 1
            return f"results/runs/{wildcards.run_id}/iter_{best}/{name}"

        return file

    # -- checks ------------------------------------------------------------------------------------------------------

    def check(self, keep_going: bool = False) -> None:
        """Everything that can be known to be wrong before work starts.

        Atlases must be readable, hold their columns, raw counts and genes of the model; every question must be
        understood. With `keep_going` a question that is not understood is left to its own run, which then fails alone.

        Raises
        ------
        HaystackError
            with all problems found, a line each.
        """
        problems = [*self._check_files(), *self._check_atlases()]
        if not keep_going:
            problems += self._check_queries()
        if problems:
            raise ConfigError("\n".join(problems))

    def _check_files(self) -> list[str]:
        named = dict.fromkeys(path for run in self.runs.values() for path in _tables(run.settings))
        problems = [f"{path}: no such file (named in the config)" for path in named if not Path(path).exists()]
        self._training_atlases()
        if self.settings.model.path:
            problems += [f"{path}: no such file (model.path)" for path in self.model_files() if not Path(path).exists()]
        return problems

    def _check_atlases(self) -> list[str]:
        from haystack.atlas import check_atlas

        genes = self._model_genes()
        problems = []
        for name, entry in self.atlases.items():
            if entry.simulated and not Path(entry.path).exists():
                continue
            try:
                check_atlas(name, entry, genes)
            except HaystackError as error:
                problems.append(str(error))
        return problems

    def _model_genes(self) -> set[str] | None:
        folder = self.model_dir()
        path = folder / MODEL_FILES["genes"] if folder else None
        return set(path.read_text(encoding="utf-8").split()) if path and path.exists() else None

    def _check_queries(self) -> list[str]:
        from haystack.query import parse_question

        problems = []
        for run in self.runs.values():
            try:
                parse_question(run.query, run.settings.query, offline=True)
            except HaystackError as error:
                problems.append(f"run {run.run_id}: {error}")
        return problems


def _decisions(checkpoints: Any, wildcards: Wildcards) -> list[Path]:
    """Walk the checkpoints of a run until one says stop."""
    found: list[Path] = []
    while not found or read_json(found[-1], Decision).continue_:
        job = checkpoints.decide.get(run_id=wildcards.run_id, iteration=len(found) + 1)
        found.append(Path(str(job.output.decision)))
    return found


def _tables(settings: Settings) -> list[str]:
    optional = [settings.enrichment.regulons, settings.grounding.network]
    return [*settings.enrichment.libraries.values(), *(path for path in optional if path)]


def _local(path: str) -> list[str]:
    return [] if "://" in path else [path]


def entries(plain: dict[str, dict[str, Any]]) -> dict[str, AtlasEntry]:
    """Atlas entries from a rule's params."""
    return {name: AtlasEntry.model_validate(entry) for name, entry in plain.items()}


# -- code hashes -----------------------------------------------------------------------------------------------------


@cache
def code_hash(*packages: str) -> str:
    """First 12 hex digits of the SHA-256 over the named packages, all they import, and the tables they read."""
    wanted = sorted(_closure(packages))
    digest = hashlib.sha256()
    for name in wanted:
        for path in [*_modules(name), *_resource_files(name)]:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _closure(packages: Sequence[str]) -> set[str]:
    found: set[str] = set()
    todo = list(packages)
    while todo:
        name = todo.pop()
        if name not in found and name not in UNHASHED:
            found.add(name)
            todo.extend(_imports(name))
    return found


@cache
def _imports(package: str) -> frozenset[str]:
    names = set()
    for path in _modules(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("haystack"):
                parts = node.module.split(".")
                names.update([parts[1]] if len(parts) > 1 else [alias.name for alias in node.names])
            elif isinstance(node, ast.Import):
                names.update(a.name.split(".")[1] for a in node.names if a.name.startswith("haystack."))
    return frozenset(name for name in names if _modules(name))


def _modules(package: str) -> list[Path]:
    """Modules of a package, but for its command line, which the pipeline does not use."""
    folder = PACKAGE / package
    if folder.is_dir():
        return sorted(path for path in folder.rglob("*.py") if path.name != "commands.py")
    module = PACKAGE / f"{package}.py"
    return [module] if module.exists() else []


def _resource_files(package: str) -> list[Path]:
    root = PACKAGE.parents[1] / "resources"
    paths = [root / name for name in RESOURCES.get(package, [])]
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return sorted(path for path in files if path.is_file() and path.suffix != ".md")


# -- what the Snakefile calls ------------------------------------------------------------------------------------------


def open_plan(config: dict[str, Any], *, check: bool) -> Plan:
    """Validate the config and, in the main process, check all inputs. Errors become one clear WorkflowError."""
    from snakemake.exceptions import WorkflowError

    try:
        plan = Plan(config)
        if check:
            plan.check(keep_going=_keep_going())
    except HaystackError as error:
        raise WorkflowError(str(error)) from None
    return plan


def _keep_going() -> bool:
    """Whether this Snakemake was started with --keep-going, on the command line or by a profile."""
    from snakemake.cli import parse_args

    if Path(sys.argv[0]).stem not in {"snakemake", "__main__"}:
        return False
    _, args = parse_args(sys.argv[1:])
    return bool(args.keep_going)


def write_summary_of_failures(plan: Plan) -> None:
    """Write the summary though some runs failed: finished, failed (with the reason) and pending rows.

    The files get the oldest possible time, so that the summary's own rule replaces them once all runs are well.
    """
    from haystack.report import summarize_runs

    paths = [Path("results/summary.tsv"), Path("results/summary.html")]
    summarize_runs(plan.questions(), Path("results"), *paths)
    for path in paths:
        os.utime(path, (0, 0))


# -- what scripts call -------------------------------------------------------------------------------------------------


@contextmanager
def script_logging(snakemake: Any) -> Iterator[logging.Logger]:
    """Log to the rule's log file; a failure is written there and to the run's `failure.json`.

    A HaystackError is one message without a traceback; anything else keeps its traceback, for a bug report.
    """
    logger = logging.getLogger("haystack")
    handler = logging.FileHandler(snakemake.log[0], mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield logger
    except HaystackError as error:
        logger.error("%s", error)
        _record_failure(snakemake, type(error).__name__, str(error))
        sys.exit(1)
    except Exception as error:
        logger.error("%s", traceback.format_exc())
        _record_failure(snakemake, type(error).__name__, f"unexpected {type(error).__name__}: {error}")
        raise
    else:
        _clear_failure(snakemake)
    finally:
        root.removeHandler(handler)
        handler.close()


def _failure_path(snakemake: Any) -> Path | None:
    run_id = getattr(snakemake.wildcards, "run_id", None)
    return Path("results/runs") / run_id / "failure.json" if run_id else None


def _record_failure(snakemake: Any, error_type: str, message: str) -> None:
    from haystack.contracts.failure import Failure, write_json

    path = _failure_path(snakemake)
    if path is None:
        return
    iteration = getattr(snakemake.wildcards, "iteration", None)
    write_json(
        path,
        Failure(
            run_id=snakemake.wildcards.run_id,
            rule=snakemake.rule,
            iteration=int(iteration) if iteration else None,
            error_type=error_type,
            message=message,
            log=str(snakemake.log[0]),
        ),
    )


def _clear_failure(snakemake: Any) -> None:
    path = _failure_path(snakemake)
    if path and path.exists() and json.loads(path.read_text(encoding="utf-8")).get("rule") == snakemake.rule:
        path.unlink()
