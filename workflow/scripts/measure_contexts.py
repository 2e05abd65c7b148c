"""Measure the contexts of the perturbation, estimate the response from them, and how accurate that will be."""

if "snakemake" in globals():
    from haystack.config import Settings
    from haystack.transfer import estimate_response, measure_contexts
    from haystack.workflow import entries, script_logging

    with script_logging(snakemake):
        atlases = entries(snakemake.params.entries, snakemake.input)
        settings = Settings.model_validate(snakemake.params.settings)
        measure_contexts(
            query=snakemake.input.query,
            cell_sets=snakemake.input.cell_sets,
            cells=dict(zip(atlases, snakemake.input.cells, strict=True)),
            atlases=atlases,
            out=snakemake.output.contexts,
            settings=settings,
        )
        estimate_response(
            contexts=snakemake.output.contexts,
            out_estimates=snakemake.output.estimates,
            out_accuracy=snakemake.output.accuracy,
            pseudocount=settings.de.pseudocount,
            out_left_out=snakemake.output.left_out,
        )
