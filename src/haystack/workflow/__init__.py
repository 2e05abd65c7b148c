"""Functions for the Snakefile and the scripts of its rules.

Imports little (standard library and pydantic) until a check or a job runs.
"""

from haystack.internals import calm_scheduler
from haystack.workflow.plan import Plan, entries, placed
from haystack.workflow.remote import address, given
from haystack.workflow.scripts import benchmarks, script_logging
from haystack.workflow.start import open_plan, write_summary_of_failures
from haystack.workflow.warm import warm_scripts

__all__ = [
    "Plan",
    "address",
    "benchmarks",
    "calm_scheduler",
    "entries",
    "given",
    "open_plan",
    "placed",
    "script_logging",
    "warm_scripts",
    "write_summary_of_failures",
]
