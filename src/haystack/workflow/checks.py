"""Checks before work starts."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from haystack.errors import ConfigError, ModelError
from haystack.files import kept_sha256
from haystack.knowledge.libraries import NOT_KEPT, library_file
from haystack.workflow.plan import Plan, tables
from haystack.workflow.questions import misunderstood

HASHES = Path(".snakemake/haystack_hashes.json")
"""checksums of models verified at an earlier start"""

log = logging.getLogger(__name__)


def check_plan(plan: Plan, keep_going: bool = False) -> None:
    """Check everything that can be checked before work starts.

    Atlases must be readable and hold their columns, raw counts and genes of the model; every question must be
    understood. With `keep_going`, a run with an invalid question fails alone, and an unusable atlas is left out with a
    warning, if another one is left and no model is trained on it.

    Raises
    ------
    HaystackError
        with all problems, one per line.
    """
    problems = _files(plan)
    bad = _atlases(plan)
    if keep_going and len(bad) < len(plan.atlases) and not set(bad) & set(plan.training_atlases()):
        for name, message in bad.items():
            log.warning("Going on without the atlas %s. %s", name, message)
            del plan.atlases[name]
    else:
        problems += bad.values()
    if not keep_going:
        problems += _queries(plan)
    if problems:
        raise ConfigError("\n".join(problems))


def _files(plan: Plan) -> list[str]:
    named = dict.fromkeys(path for run in plan.runs.values() for path in tables(run.settings))
    fetched = {
        library_file(text): text for run in plan.runs.values() for text in run.settings.enrichment.libraries.values()
    }
    problems = []
    for path in named:
        address = fetched.get(path, path)
        if _exists(plan, path) or (address != path and not plan.settings.offline):
            continue
        if address == path:
            problems.append(f"{path}: no such file (named in the config)")
        else:
            problems.append(f"enrichment.libraries: offline: true, and {NOT_KEPT.format(path=path, address=address)}")
    plan.training_atlases()
    model = plan.settings.model
    absent = [path for path in plan.model_files() if not _exists(plan, path)]
    if model.download and plan.settings.offline and absent:
        problems.append(
            f"model.download: {absent[0]} is absent, and `offline: true` forbids fetching {model.download.repository}. "
            "Set offline: false, or make the folder elsewhere with `haystack model download` and set model.path"
        )
    if model.path and not model.is_remote:
        problems += [f"{path}: no such file (model.path)" for path in absent]
    folder = plan.model_dir()
    if folder and not absent and not model.is_remote and folder.is_dir():
        from haystack.inference.store import check_folder

        try:
            check_folder(folder, partial(kept_sha256, kept=HASHES))
        except ModelError as error:
            problems.append(str(error))
    return problems


def _atlases(plan: Plan) -> dict[str, str]:
    """Name -> problem of unusable atlases."""
    from haystack.atlas import read_model_genes, usable_atlases

    problems: dict[str, str] = {}
    present = {}
    for name, entry in plan.atlases.items():
        in_storage = plan.storage is not None and "://" not in entry.path and not Path(entry.path).is_absolute()
        absent = "://" not in entry.path and not _exists(plan, entry.path, staged=False)
        if absent and (entry.simulated or (entry.url and not plan.settings.offline)):
            continue
        if absent and entry.url:
            problems[name] = (
                f"atlas '{name}': {entry.path} is absent, and `offline: true` forbids fetching {entry.url}. "
                "Set offline: false, or put the file there"
            )
        elif absent and in_storage:
            uri = f"{plan.storage}/{Path(entry.path).as_posix()}"
            problems[name] = (
                f"atlas '{name}': {uri} does not exist. Copy {entry.path} there"
                + (f": `gcloud storage cp {entry.path} {uri}`" if plan.bucket else "")
                + ", or name an address (gs://...zarr)"
            )
        elif not in_storage:  # there, the job that indexes it looks into it
            present[name] = entry
    _, bad = usable_atlases(present, read_model_genes(plan.genes_file()))
    return problems | {name: str(error) for name, error in bad.items()}


def _exists(plan: Plan, path: str, staged: bool = True) -> bool:
    """Whether a file exists here or, with default storage, there (`staged`: or here, to be copied there)."""
    if plan.storage and not Path(path).is_absolute():
        from haystack.storage import store
        from haystack.workflow.staging import here

        address = f"{plan.storage}/{Path(path).as_posix()}"
        return (staged and here(path) is not None) or store(plan.storage).exists(address)
    return Path(path).exists()


def _queries(plan: Plan) -> list[str]:
    return misunderstood(
        (run.run_id, run.query, run.settings.query.model_dump(mode="json")) for run in plan.runs.values()
    )
