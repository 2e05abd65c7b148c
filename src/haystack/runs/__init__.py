"""The runs: the table of questions."""

from haystack.runs.table import Run, read_runs, run_identifier

__all__ = ["Run", "read_runs", "run_identifier"]
