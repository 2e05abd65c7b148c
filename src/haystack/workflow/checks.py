"""Everything that can be known to be wrong before work starts."""

from __future__ import annotations

from pathlib import Path

from haystack.errors import ConfigError, HaystackError
from haystack.workflow.plan import Plan, tables


def check_plan(plan: Plan, keep_going: bool = False) -> None:
    """Everything that can be known to be wrong before work starts.

    Atlases must be readable, hold their columns, raw counts and genes of the model; every question must be
    understood. With `keep_going` a question that is not understood is left to its own run, which then fails alone.

    Raises
    ------
    HaystackError
        with all problems found, a line each.
    """
    problems = [*_files(plan), *_atlases(plan)]
    if not keep_going:
        problems += _queries(plan)
    if problems:
        raise ConfigError("\n".join(problems))


def _files(plan: Plan) -> list[str]:
    named = dict.fromkeys(path for run in plan.runs.values() for path in tables(run.settings))
    problems = [f"{path}: no such file (named in the config)" for path in named if not Path(path).exists()]
    plan.training_atlases()
    if plan.settings.model.path:
        problems += [f"{path}: no such file (model.path)" for path in plan.model_files() if not Path(path).exists()]
    return problems


def _atlases(plan: Plan) -> list[str]:
    from haystack.atlas import check_atlas

    genes = _model_genes(plan)
    problems = []
    for name, entry in plan.atlases.items():
        absent = "://" not in entry.path and not Path(entry.path).exists()
        if absent and (entry.simulated or (entry.url and not plan.settings.offline)):
            continue
        if absent and entry.url:
            problems.append(
                f"atlas '{name}': {entry.path} is absent, and `offline: true` forbids fetching {entry.url}. "
                "Set offline: false, or put the file there"
            )
            continue
        try:
            check_atlas(name, entry, genes)
        except HaystackError as error:
            problems.append(str(error))
    return problems


def _model_genes(plan: Plan) -> set[str] | None:
    folder = plan.model_dir()
    path = folder / "genes.txt" if folder else None
    return set(path.read_text(encoding="utf-8").split()) if path and path.exists() else None


def _queries(plan: Plan) -> list[str]:
    from haystack.query import parse_question

    problems = []
    for run in plan.runs.values():
        try:
            parse_question(run.query, run.settings.query, offline=True)
        except HaystackError as error:
            problems.append(f"run {run.run_id}: {error}")
    return problems
