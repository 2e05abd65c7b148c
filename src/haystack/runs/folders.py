"""Folders in which local runs work.

Snakemake locks the folder it works in. So every run has one of its own, with links to the pipeline (`workflow`,
`resources`, ...) and to what all runs share: `results/index`, `results/demo`, `results/model` in the folder `shared`.
A run may only do the rules of runs (RUN_RULES); what is shared is made by a Snakemake in `shared`, alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import haystack
from haystack.config import Settings, load_atlases, load_settings, read_yaml
from haystack.errors import ConfigError
from haystack.files import write_text
from haystack.runs.models import FILES, RunRecord
from haystack.runs.runner import SPEC
from haystack.runs.settings import ServiceSettings
from haystack.specs import MODELS

RUN_RULES = (
    "parse_query",
    "retrieve_cells",
    "generate_prompts",
    "measure_contexts",
    "stack_inference",
    "enrich_predictions",
    "search_literature",
    "ground_predictions",
    "decide",
    "validate_prediction",
    "collect_outputs",
    "render_report",
)
"""rules whose outputs belong to one run"""
SHARED_RESULTS = ("index", "demo", "model")
OWN = {"results", "logs", "config", "config/config.yaml", "config/runs.tsv", "config/service.yaml"}
"""what a working folder does not share with the pipeline's"""
EVENTS = "events.jsonl"
CONFIG = "config/config.yaml"


class Folders:
    """Prepares working folders.

    Parameters
    ----------
    settings
        of the service.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.shared = settings.work_dir / "shared"

    def run(self, run_id: str) -> Path:
        """A run's own folder."""
        return self.settings.work_dir / "runs" / run_id

    def results(self, run_id: str) -> Path:
        """Where its results are."""
        return self.run(run_id) / "results" / "runs" / run_id

    def check(self) -> None:
        """Complain about a pipeline folder that is none.

        Raises
        ------
        ConfigError
            naming the folder and the setting.
        """
        if not (self.settings.pipeline_dir / "workflow" / "Snakefile").is_file():
            raise ConfigError(
                f"{self.settings.pipeline_dir}: no workflow/Snakefile here. Set HAYSTACK_PIPELINE_DIR to the folder "
                "of the pipeline"
            )

    def prepare(self, run: RunRecord) -> None:
        """Write all that the run's process needs; repeating it gives the same.

        A run's folder is a whole pipeline folder with a config of its own; Snakemake started there by hand goes on.
        """
        self.check()
        base = self.service_config()
        shared = _merge(base, self._rebased(base))
        folder = self.run(run.run_id)
        for name in SHARED_RESULTS:
            (self.shared / "results" / name).mkdir(parents=True, exist_ok=True)
        self._link(self.shared)
        self._link(folder)
        for name in SHARED_RESULTS:
            _symlink(folder / "results" / name, self.shared / "results" / name)
        own = {**_merge(shared, run.config), "runs": "config/runs.tsv"}
        load_settings(own)
        write_text(self.shared / CONFIG, _yaml(shared))
        write_text(folder / CONFIG, _yaml(own))
        write_text(folder / "config" / "runs.tsv", f"run_id\tquery\n{run.run_id}\t{run.query}\n")
        write_text(folder / SPEC, json.dumps(self._spec(run, load_settings(shared)), indent=1))

    def service_config(self) -> dict[str, Any]:
        """The service's own config."""
        config = self.settings.pipeline_dir / CONFIG
        base = read_yaml(config) if config.is_file() else {}
        if self.settings.configfile:
            base = _merge(base, read_yaml(self.settings.pipeline_dir / self.settings.configfile))
        return base

    def pipeline_settings(self) -> Settings:
        """The pipeline's settings, with what the service lays over them.

        Raises
        ------
        ConfigError
            when they are wrong.
        """
        return load_settings(self.service_config(), str(self.settings.pipeline_dir / CONFIG))

    def _link(self, folder: Path) -> None:
        """Links to all of the pipeline's folder, but for what is a working folder's own."""
        for name in ("results", "config"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        source = self.settings.pipeline_dir
        for path in [*sorted(source.iterdir()), *sorted((source / "config").glob("*"))]:
            relative = path.relative_to(source)
            ours = self.settings.work_dir.is_relative_to(path) or relative.as_posix() in OWN
            if not ours and not path.name.startswith("."):
                _symlink(folder / relative, path)

    def _rebased(self, base: dict[str, Any]) -> dict[str, Any]:
        """Settings whose paths lead out of the pipeline's folder, as seen from a working folder."""
        data_dir = base.get("data_dir", Settings.model_fields["data_dir"].default)
        changed: dict[str, Any] = {"data_dir": self._absolute(str(data_dir))}
        atlases = base.get("atlases", Settings.model_fields["atlases"].default)
        entries = read_yaml(self.settings.pipeline_dir / atlases) if isinstance(atlases, str) else dict(atlases)
        rebased = {name: self._rebased_entry(entry) for name, entry in entries.items()}
        if rebased != entries:
            changed["atlases"] = rebased
        return changed

    def _rebased_entry(self, entry: dict[str, Any]) -> dict[str, Any]:
        outside = {key: entry[key] for key in ("path", "mapping") if str(entry.get(key) or "").startswith("..")}
        return {**entry, **{key: self._absolute(path) for key, path in outside.items()}}

    def _absolute(self, path: str) -> str:
        return path if "://" in path else os.path.normpath(self.settings.pipeline_dir / path)

    def _spec(self, run: RunRecord, settings: Settings) -> dict[str, Any]:
        """What the runner reads."""
        folder = self.run(run.run_id)
        report = f"results/runs/{run.run_id}/{FILES['report'].format(run_id=run.run_id)}"
        shared = ["results/index/cell_sets.parquet"]
        if MODELS.get(settings.model.kind).weights and "://" in (settings.model.path or "://"):
            shared.append(f"results/model/{settings.model.name}/model.safetensors")
        # Relative: Snakemake reads the value as YAML, in which ` #` in a folder's name begins a comment.
        own = f"runs={os.path.relpath(folder / 'config' / 'runs.tsv', self.shared)}"
        return {
            "folder": str(folder),
            "command": self.command(report, "--allowed-rules", *RUN_RULES),
            "environment": {"HAYSTACK_EVENTS": str(folder / EVENTS)},
            "shared": {
                "folder": str(self.shared),
                "command": self.command(*shared, "--config", own),
                "lock": str(self.shared / "index.lock"),
                "mark": str(self.shared / "index.made"),
                "fingerprint": self._fingerprint(settings),
            },
        }

    def command(self, *arguments: str) -> list[str]:
        """Snakemake with the service's profile."""
        return [sys.executable, "-m", "snakemake", "--profile", self.settings.profile, *arguments]

    def _fingerprint(self, settings: Settings) -> str:
        """Changes with anything that index and model are made from; then Snakemake is asked what there is to do."""
        made_from = settings.model_dump(mode="json", include={"demo", "model", "seed"})
        made_from["holdouts"] = [item.model_dump(mode="json") for item in settings.holdouts]
        atlases = load_atlases(_with_atlases(settings, self.settings.pipeline_dir))
        made_from["atlases"] = {name: entry.model_dump(mode="json") for name, entry in atlases.items()}
        files = [self.settings.pipeline_dir / entry.path for entry in atlases.values() if not entry.simulated]
        files += [path for path in Path(haystack.__file__).parent.rglob("*") if path.suffix != ".pyc"]
        files += sorted((self.settings.pipeline_dir / "workflow").rglob("*.*"))
        states = [[str(path), path.stat().st_mtime_ns, path.stat().st_size] for path in sorted(files) if path.is_file()]
        text = json.dumps([made_from, states], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _with_atlases(settings: Settings, pipeline: Path) -> Settings:
    if not isinstance(settings.atlases, str):
        return settings
    return settings.model_copy(update={"atlases": str(pipeline / settings.atlases)})


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """As Snakemake lays one config file over another."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _yaml(config: dict[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def _symlink(link: Path, target: Path) -> None:
    """Make or mend a link; two processes may do so at once."""
    if link.is_symlink() and link.readlink() == target:
        return
    temporary = link.with_name(f".{link.name}.{os.getpid()}.{threading.get_native_id()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    if link.exists() and not link.is_symlink():
        temporary.unlink()
        raise ConfigError(f"{link}: exists and is not a link; the service's folder holds only its own files")
    temporary.replace(link)
