"""Summarise all runs: one row each, a page with a heat map, and the versions that made them."""

if "snakemake" in globals():
    from pathlib import Path

    from haystack.report import report_failures, summarize_runs
    from haystack.workflow import script_logging

    with script_logging(snakemake):
        runs = list(snakemake.params.runs.items())
        results = Path(snakemake.output.tsv).parent
        report_failures(runs, results)  # removes the pages of runs that are well again
        summarize_runs(runs, results)
