"""Score the predictions of one iteration against what biology knows, and say what to do better next."""

if "snakemake" in globals():
    from haystack.config import Settings
    from haystack.loop import ground_predictions
    from haystack.workflow import placed, script_logging

    with script_logging(snakemake):
        ground_predictions(
            query=snakemake.input.query,
            predictions=snakemake.input.predictions,
            prompts=snakemake.input.prompts,
            candidates=snakemake.input.candidates,
            de=snakemake.input.de,
            enrichment=snakemake.input.enrichment,
            cells=snakemake.input.cells,
            literature=next(iter(snakemake.input.literature), None),
            accuracy=snakemake.input.accuracy,
            contexts=snakemake.input.contexts,
            estimates=snakemake.input.estimates,
            examined=snakemake.input.examined,
            left_out=snakemake.input.left_out,
            out=snakemake.output.grounding,
            settings=placed(Settings.model_validate(snakemake.params.settings), snakemake.input.libraries),
            run_id=snakemake.wildcards.run_id,
            iteration=int(snakemake.wildcards.iteration),
        )
