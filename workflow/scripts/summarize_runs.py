"""Summarise all runs: one row each, and a page with a heat map."""

if "snakemake" in globals():
    from pathlib import Path

    from haystack.report import summarize_runs
    from haystack.workflow import script_logging

    with script_logging(snakemake):
        summarize_runs(
            runs=list(snakemake.params.runs.items()),
            results_dir=Path("results"),
            out_tsv=Path(snakemake.output.tsv),
            out_html=Path(snakemake.output.html),
        )
