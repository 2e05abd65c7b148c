"""The validated config, as inputs and parameters of rules."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from haystack.codehash import code_hash
from haystack.config import AtlasEntry, Settings, load_atlases, load_settings
from haystack.contracts import Decision, read_json
from haystack.errors import ConfigError
from haystack.knowledge.libraries import NamedLibrary, library_file, named_library
from haystack.run_table import Run, read_runs
from haystack.specs import MODELS
from haystack.workflow.remote import fetched, local_copy
from haystack.workflow.shipped import with_shipped

ONLY = "HAYSTACK_RUNS"
"""environment variable with the ids of a coordinator's runs, separated by blanks; set by `haystack batch`"""
MODEL_FILES = ("model.safetensors", "config.json", "genes.txt", "provenance.json")


class Wildcards(Protocol):
    """Snakemake's wildcards, or a SimpleNamespace in tests."""

    run_id: str
    iteration: str


class Plan:
    """The validated config, as inputs and parameters of rules. `plan` in the Snakefile."""

    def __init__(self, config: dict[str, Any], storage: str | None = None, only: Sequence[str] = ()) -> None:
        self.storage = storage
        """prefix of the default storage (gs://bucket/folder); None: the local disk"""
        # In a bucket every path has one address, whatever a machine's own disk holds: see stage_files.
        placed = (lambda settings: settings) if storage else with_shipped
        self.settings = placed(load_settings(config))
        self.atlases = load_atlases(self.settings)
        runs = [replace(run, settings=placed(run.settings)) for run in read_runs(config, self.settings)]
        self.table: dict[str, Run] = {run.run_id: run for run in runs}
        """all runs; shared parts (a model's hold-outs, the summary) depend on all of them"""
        unknown = [run_id for run_id in only if run_id not in self.table]
        if unknown:
            raise ConfigError(f"{self.settings.runs}: no run '{unknown[0]}' (asked for by {ONLY})")
        self.runs = {run_id: self.table[run_id] for run_id in only} if only else self.table
        """runs to execute: all, or one chunk"""
        self.gpus = 0
        """GPUs that an inference uses on Snakemake's own machine; elsewhere the scheduler counts them"""
        self.model_threads = 2 if MODELS.get(self.settings.model.kind).weights else 1
        """cores of an inference: networks multiply matrices, baselines hardly do"""

    @property
    def bucket(self) -> str | None:
        """The storage's prefix if it is in Google Cloud Storage."""
        return self.storage if self.storage and self.storage.startswith("gs://") else None

    # -- wildcards ---------------------------------------------------------------------------------------------------

    @property
    def run_ids(self) -> list[str]:
        """Ids in the order of the table."""
        return list(self.runs)

    @property
    def run_pattern(self) -> str:
        """Regular expression for the wildcard run_id: only the listed runs."""
        return "|".join(re.escape(run_id) for run_id in self.runs)

    @property
    def atlas_pattern(self) -> str:
        """Regular expression for the wildcard atlas."""
        return "|".join(re.escape(name) for name in self.atlases)

    @property
    def download_pattern(self) -> str:
        """Regular expression for atlases that can be downloaded into `resources/atlases`; may match nothing."""
        return "|".join(re.escape(name) for name in self._downloads()) or "(?!)"

    @property
    def trained_pattern(self) -> str:
        """Regular expression for the model trained by the pipeline; may match nothing."""
        model = self.settings.model
        return re.escape(model.name) if model.train else "(?!)"

    @property
    def fetched_pattern(self) -> str:
        """Regular expression for the model downloaded by the pipeline; may match nothing."""
        model = self.settings.model
        return re.escape(model.name) if model.download or model.is_remote else "(?!)"

    @property
    def library_pattern(self) -> str:
        """Regular expression for gene set libraries that can be downloaded; matches nothing offline, so that existing
        ones are used.
        """
        names = [] if self.settings.offline else self._named_libraries()
        return "|".join(map(re.escape, names)) or "(?!)"

    def _named_libraries(self) -> dict[str, NamedLibrary]:
        """File name in `results/genesets` -> library of a public database, of all runs."""
        given = [text for run in self.table.values() for text in run.settings.enrichment.libraries.values()]
        return {found.stem: found for text in given if (found := named_library(text))}

    def library_address(self, wildcards: Any) -> str:
        """Library of a file name, as in the config."""
        return self._named_libraries()[wildcards.library].address

    def library_provenance(self, wildcards: Wildcards) -> list[str]:
        """Provenance files of the libraries of a run; GMT files added by hand have none."""
        named = map(named_library, self.runs[wildcards.run_id].settings.enrichment.libraries.values())
        files = [f"results/genesets/{library.stem}.json" for library in named if library]
        return [path for path in files if not self.settings.offline or self.storage or Path(path).exists()]

    def _downloads(self) -> dict[str, str]:
        """File name in `resources/atlases` -> name of the atlas that can be downloaded."""
        folder = Path("resources/atlases")
        paths = {name: Path(entry.path) for name, entry in self.atlases.items() if entry.url}
        return {path.name: name for name, path in paths.items() if path.parent == folder}

    # -- params ------------------------------------------------------------------------------------------------------

    def query(self, wildcards: Wildcards) -> str:
        """The question of a run."""
        return self.runs[wildcards.run_id].query

    def get(self, *sections: str) -> Callable[[Wildcards], dict[str, Any]]:
        """A params function: the named top-level settings of a run as plain values."""

        def settings_of_run(wildcards: Wildcards) -> dict[str, Any]:
            effective = self.runs[wildcards.run_id].settings
            plain = effective.model_dump(mode="json", include=set(sections))
            if "retrieval" in plain:
                plain["retrieval"]["exclude"] = [item.model_dump(mode="json") for item in effective.holdouts]
            return plain

        return settings_of_run

    def effective(self, wildcards: Wildcards) -> dict[str, Any]:
        """All effective settings of a run, for its log."""
        return self.runs[wildcards.run_id].settings.model_dump(mode="json")

    def questions(self) -> dict[str, str]:
        """run_id -> question, in the order of the whole table."""
        return {run.run_id: run.query for run in self.table.values()}

    def validation(self, wildcards: Wildcards) -> list[str]:
        """`validation.json`, if the run names held-out cells."""
        named = self.runs[wildcards.run_id].settings.validation
        return [f"results/runs/{wildcards.run_id}/validation.json"] if named else []

    def checksummed(self, wildcards: Wildcards) -> dict[str, str]:
        """Name -> file whose checksum is logged."""
        libraries = self.runs[wildcards.run_id].settings.enrichment.libraries
        return {
            **{f"atlas {name}": entry.path for name, entry in self.atlases.items()},
            "cell sets": "results/index/cell_sets.parquet",
            **{f"model {Path(path).name}": path for path in self.model_files()},
            **{f"gene sets {name}": library_file(path) for name, path in libraries.items()},
        }

    def training(self, wildcards: Any = None) -> dict[str, Any] | None:
        """Settings of the model's training."""
        train = self.settings.model.train
        return train.model_dump(mode="json") if train else None

    def fetched_model(self, wildcards: Any = None) -> dict[str, Any]:
        """Source of the model's download."""
        model = self.settings.model
        download = model.download.model_dump(mode="json") if model.download else None
        return {"download": download, "path": model.path, "offline": self.settings.offline}

    def holdouts(self, wildcards: Any = None) -> list[dict[str, Any]]:
        """Cells excluded from training: those held out in any run."""
        filters = [item.model_dump(mode="json") for run in self.table.values() for item in run.settings.holdouts]
        return [item for i, item in enumerate(filters) if item not in filters[:i]]

    def atlas_entry(self, wildcards: Any) -> dict[str, Any]:
        """The entry of one atlas as plain values."""
        return self.atlases[wildcards.atlas].model_dump(mode="json")

    def download(self, wildcards: Any) -> dict[str, Any]:
        """Name, address and checksum of an atlas that can be downloaded."""
        name = self._downloads()[wildcards.file]
        return {"name": name, "entry": self.atlases[name].model_dump(mode="json")}

    def atlas_entries(self) -> dict[str, dict[str, Any]]:
        """All entries as plain values, by name."""
        return {name: entry.model_dump(mode="json") for name, entry in self.atlases.items()}

    def code(self, *functions: str) -> str:
        """Hash of everything that a rule's functions reach, so that edits rerun it."""
        return code_hash(*(f"haystack.{name}" for name in functions))

    def labels(self, component: str) -> Callable[[Any], str]:
        """A resource function: labels of the rule's job on Google Batch, by which jobs of a cancelled run are found."""

        def labels_of_job(wildcards: Any) -> str:
            from haystack.gcp.names import COMPONENT_LABEL, RUN_LABEL, label_value

            run_id = getattr(wildcards, "run_id", None) or os.environ.get("HAYSTACK_RUN_ID", "shared")
            return f"{RUN_LABEL}={label_value(run_id)},{COMPONENT_LABEL}={component}"

        return labels_of_job

    # -- inputs ------------------------------------------------------------------------------------------------------

    def atlas_file(self, wildcards: Any) -> list[str]:
        """The atlas file and its corrected labels, if any; nothing for a remote atlas."""
        entry = self.atlases[wildcards.atlas]
        return self._inputs(entry.path) + ([entry.mapping] if entry.mapping else [])

    def atlas_files(self, wildcards: Any = None) -> list[str]:
        """All local atlases in use."""
        return [path for entry in self.atlases.values() for path in self._inputs(entry.path)]

    def _inputs(self, path: str) -> list[str]:
        """An atlas as input of a rule; nothing if it is read directly from a bucket.

        With default storage an absolute path is a mounted bucket, which exists only on the coordinator: marked as
        local, it keeps the job there.
        """
        if "://" in path:
            return []
        if self.storage is not None and Path(path).is_absolute():
            from snakemake.io import local

            return [local(path)]
        return [path]

    def cells_tables(self, wildcards: Any = None) -> list[str]:
        """Harmonised cells of all atlases in use."""
        return [f"results/index/{name}/cells.parquet" for name in self.atlases]

    def model_dir(self) -> Path | None:
        """Folder of the model; None for one without weights."""
        model = self.settings.model
        if not MODELS.get(model.kind).weights:
            return None
        return Path(model.path) if model.path else Path("results/model") / model.name

    def genes_file(self) -> str | None:
        """Gene list of an existing model; None for a baseline, and before the model is made."""
        path = (self.model_dir() or Path()) / "genes.txt"
        return path.as_posix() if path.is_file() else None

    def model_files(self, wildcards: Any = None) -> list[str]:
        """The model's files; none for one without weights."""
        folder = self.model_dir()
        return [(folder / name).as_posix() for name in MODEL_FILES] if folder else []

    def model_needs(self, wildcards: Wildcards) -> list[str]:
        """Further files of the run used by its model."""
        spec = MODELS.get(self.runs[wildcards.run_id].settings.model.kind)
        return [f"results/runs/{wildcards.run_id}/{name}" for name in spec.needs]

    def exam_contexts(self, wildcards: Wildcards) -> int:
        """Largest number of held-out contexts in the iteration's inference job."""
        settings = self.runs[wildcards.run_id].settings
        spec = MODELS.get(settings.model.kind)
        sits = spec.exam and (spec.exam_always or wildcards.iteration == "1")
        return settings.exam.contexts if sits else 0

    def training_tables(self, wildcards: Any = None) -> list[str]:
        """Harmonised cells of the training atlases."""
        return [f"results/index/{name}/cells.parquet" for name in self.training_atlases()]

    def training_files(self, wildcards: Any = None) -> list[str]:
        """Local training atlases."""
        return [path for name in self.training_atlases() for path in self._inputs(self.atlases[name].path)]

    def training_atlases(self) -> list[str]:
        """Names of the training atlases."""
        train = self.settings.model.train
        if train is None:
            return []
        unknown = [name for name in train.atlases if name not in self.atlases]
        if unknown:
            raise ConfigError(
                f"config: model.train.atlases: unknown atlas '{unknown[0]}'; in use: {', '.join(self.atlases)}"
            )
        return train.atlases

    def library_files(self, wildcards: Wildcards) -> list[str]:
        """Gene set libraries, and the regulon and network tables if given."""
        return tables(self.runs[wildcards.run_id].settings)

    def named_files(self) -> list[str]:
        """Local files that rules read, except atlases: tables, the model, corrected labels."""
        libraries = [path for run in self.runs.values() for path in tables(run.settings)]
        given = self.model_files() if self.settings.model.path and not self.settings.model.is_remote else []
        mappings = [entry.mapping for entry in self.atlases.values() if entry.mapping]
        return list(dict.fromkeys([*libraries, *given, *mappings]))

    def sources(self) -> list[str]:
        """Files that every machine reads besides the config: the table of runs, the list of atlases."""
        named = [self.settings.runs, self.settings.atlases]
        return [path for path in named if isinstance(path, str) and "\n" not in path and Path(path).is_file()]

    def literature(self, wildcards: Wildcards) -> list[str]:
        """`literature.json` of the iteration, if the run searches papers."""
        asked = self.runs[wildcards.run_id].settings.literature.enabled
        return [f"results/runs/{wildcards.run_id}/iter_{wildcards.iteration}/literature.json"] if asked else []

    def previous_prompts(self, wildcards: Wildcards) -> list[str]:
        """`prompts.json` of every earlier iteration, to know what was tried."""
        return [f"results/runs/{wildcards.run_id}/iter_{i}/prompts.json" for i in range(1, int(wildcards.iteration))]

    def previous_grounding(self, wildcards: Wildcards) -> list[str]:
        """`grounding.json` of the last iteration, with the refinement; nothing for the first."""
        i = int(wildcards.iteration)
        return [f"results/runs/{wildcards.run_id}/iter_{i - 1}/grounding.json"] if i > 1 else []

    def groundings(self, wildcards: Wildcards) -> list[str]:
        """`grounding.json` of iterations 1..i."""
        return [
            f"results/runs/{wildcards.run_id}/iter_{i}/grounding.json" for i in range(1, int(wildcards.iteration) + 1)
        ]

    def every_iteration(self, checkpoints: Any, name: str) -> Callable[[Wildcards], list[str]]:
        """An input function: the file `name` of every iteration until the loop stops."""

        def files(wildcards: Wildcards) -> list[str]:
            n = len(_decisions(checkpoints, wildcards.run_id))
            return [f"results/runs/{wildcards.run_id}/iter_{i}/{name}" for i in range(1, n + 1)]

        return files

    def loop_ends(self, checkpoints: Any) -> list[Callable[[Wildcards], str]]:
        """Input functions, one per run: the decision that ends its loop.

        Targets request it together with the reports. If a changed setting turns the end of a loop into "continue", an
        old report would otherwise satisfy Snakemake, which checks no other reason while a job waits for a checkpoint.
        """

        def end_of(run_id: str) -> Callable[[Wildcards], str]:
            def decision(wildcards: Wildcards) -> str:
                n = len(_decisions(checkpoints, run_id))
                return f"results/runs/{run_id}/iter_{n}/decision.json"

            return decision

        return [end_of(run_id) for run_id in self.runs]

    def best_iteration(self, checkpoints: Any, name: str) -> Callable[[Wildcards], str]:
        """An input function: the file `name` of the best iteration (the first, if none could be scored)."""

        def file(wildcards: Wildcards) -> str:
            best = _decisions(checkpoints, wildcards.run_id)[-1].best_iteration or 1
            return f"results/runs/{wildcards.run_id}/iter_{best}/{name}"

        return file


def _decisions(checkpoints: Any, run_id: str) -> list[Decision]:
    """Follow the checkpoints of a run until one says stop."""
    decisions: list[Decision] = []
    while not decisions or decisions[-1].continue_:
        job = checkpoints.decide.get(run_id=run_id, iteration=len(decisions) + 1)
        path = fetched(job.output.decision)
        decisions.append(_read_decision(path, path.stat().st_mtime_ns))
    return decisions


@cache
def _read_decision(path: Path, mtime_ns: int) -> Decision:
    """Cached, because Snakemake asks again for all runs after every checkpoint."""
    return read_json(path, Decision)


def tables(settings: Settings) -> list[str]:
    """Gene set libraries, and the regulon and network tables if given."""
    optional = [settings.enrichment.regulons, settings.grounding.network]
    libraries = map(library_file, settings.enrichment.libraries.values())
    return [*libraries, *(path for path in optional if path)]


def placed(settings: Settings, files: Iterable[str]) -> Settings:
    """The settings, with paths of gene sets, regulons and network replaced by those among a rule's `files` (default
    storage).
    """
    given, enrichment, grounding = list(files), settings.enrichment, settings.grounding

    def copy(path: str | None) -> str | None:
        return local_copy(library_file(path), given) if path else None

    libraries = {name: copy(path) for name, path in enrichment.libraries.items()}
    update = {
        "enrichment": enrichment.model_copy(update={"libraries": libraries, "regulons": copy(enrichment.regulons)}),
        "grounding": grounding.model_copy(update={"network": copy(grounding.network)}),
    }
    return settings.model_copy(update=update)


def entries(plain: dict[str, dict[str, Any]], files: Iterable[str] = ()) -> dict[str, AtlasEntry]:
    """Atlas entries from a rule's params, with paths replaced by those among the rule's `files` (default storage)."""
    found = {}
    given = list(files)
    for name, values in plain.items():
        placed = {key: local_copy(values[key], given) for key in ("path", "mapping") if values.get(key)}
        found[name] = AtlasEntry.model_validate({**values, **placed})
    return found
