"""Run a rule in Python for debugging (`haystack debug`, or in a notebook)."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from haystack.errors import ConfigError, suggest

SNAKEFILE = Path("workflow/Snakefile")


def mock_snakemake(rule: str, configfile: Path | None = None, **wildcards: str) -> Any:
    """The object `snakemake` of a rule's script for one run of this folder. Nothing is executed.

    Input functions that depend on the end of the loop need a finished run.

    Parameters
    ----------
    rule
        name of a rule.
    configfile
        further settings, as with `snakemake --configfile`.
    wildcards
        run_id, iteration, atlas: wildcards of the rule's files.

    Raises
    ------
    ConfigError
        for an unknown rule, a missing wildcard, or invalid settings.
    """
    if not SNAKEFILE.is_file():
        raise ConfigError(f"{SNAKEFILE}: not found in {Path.cwd()}; start in the folder of the pipeline")
    from snakemake.exceptions import RuleException, WorkflowError

    from haystack.internals import read_workflow, rule_job

    try:
        with read_workflow(SNAKEFILE, configfile) as workflow:
            names = [item.name for item in workflow.rules]
            if rule not in names:
                raise ConfigError(f"no rule '{rule}'.{suggest(rule, names)}")
            asked = sorted(workflow.get_rule(rule).wildcard_names)
            if missing := [name for name in asked if name not in wildcards]:
                raise ConfigError(f"rule {rule}: which {' and '.join(missing)}?")
            decided = [path.as_posix() for path in Path().glob("results/runs/*/iter_*/decision.json")]
            return rule_job(workflow, rule, {name: wildcards[name] for name in asked}, decided)
    except (WorkflowError, RuleException) as error:
        raise ConfigError(f"rule {rule}: {error}") from None


def run_script(snakemake: SimpleNamespace) -> None:
    """Run the rule's script in this process; works with `python -m pdb` and breakpoints."""
    for path in [*snakemake.output, *snakemake.log]:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    runpy.run_path(str(SNAKEFILE.parent / "scripts" / f"{snakemake.rule}.py"), init_globals={"snakemake": snakemake})
