"""Write the report of a run: one page that a biologist can read alone."""

if "snakemake" in globals():
    from pathlib import Path

    from haystack.report import render_report
    from haystack.workflow import script_logging

    with script_logging(snakemake):
        render_report(
            run_id=snakemake.wildcards.run_id,
            predictions=Path(snakemake.input.predictions),
            log=Path(snakemake.input.log),
            de=Path(snakemake.input.de),
            enrichment=Path(snakemake.input.enrichment),
            out=Path(snakemake.output.report),
        )
