"""Collect the best prediction of a run, its tables, and the log that lets another person repeat it."""

if "snakemake" in globals():
    from pathlib import Path

    from haystack.config import Settings
    from haystack.report import collect_outputs
    from haystack.workflow import entries, script_logging

    with script_logging(snakemake):
        collect_outputs(
            run_id=snakemake.wildcards.run_id,
            run_dir=Path(snakemake.input.query).parent,
            decision=Path(snakemake.input.decisions[-1]),
            settings=Settings.model_validate(snakemake.params.settings),
            atlases=entries(snakemake.params.entries),
            inputs=snakemake.params.checksums,
            benchmarks=Path("results/benchmarks"),
            out_predictions=Path(snakemake.output.predictions),
            out_log=Path(snakemake.output.log),
            out_de=Path(snakemake.output.de),
            out_enrichment=Path(snakemake.output.enrichment),
            validation=next(map(Path, snakemake.input.validation), None),
        )
