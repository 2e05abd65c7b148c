"""Collect the best prediction of a run, its tables, and the log that lets another person repeat it."""

if "snakemake" in globals():
    from pathlib import Path

    from haystack.config import Settings
    from haystack.report import collect_outputs
    from haystack.workflow import address, benchmarks, entries, given, script_logging

    with script_logging(snakemake):
        collect_outputs(
            run_id=snakemake.wildcards.run_id,
            run_dir=Path(snakemake.input.query).parent,
            decision=Path(snakemake.input.decisions[-1]),
            settings=Settings.model_validate(snakemake.params.settings),
            atlases=entries(snakemake.params.entries),
            inputs={name: given(path, snakemake.input) for name, path in snakemake.params.checksums.items()},
            addresses={name: address(path) for name, path in snakemake.params.checksums.items()},
            benchmarks=benchmarks(snakemake),
            out_predictions=Path(snakemake.output.predictions),
            out_others=Path(snakemake.output.others),
            out_log=Path(snakemake.output.log),
            out_de=Path(snakemake.output.de),
            out_enrichment=Path(snakemake.output.enrichment),
            libraries=[Path(path) for path in snakemake.input.genesets],
            validation=next(map(Path, snakemake.input.validation), None),
        )
