"""Find cell sets that show the condition, by every strategy that fits the question."""

if "snakemake" in globals():
    from haystack.config import Settings
    from haystack.retrieval import retrieve_cells
    from haystack.workflow import script_logging

    with script_logging(snakemake):
        retrieve_cells(
            query=snakemake.input.query,
            cell_sets=snakemake.input.cell_sets,
            cells=dict(zip(snakemake.params.atlases, snakemake.input.cells, strict=True)),
            previous_grounding=next(iter(snakemake.input.grounding), None),
            previous_prompts=list(snakemake.input.prompts),
            out=snakemake.output.candidates,
            settings=Settings.model_validate(snakemake.params.settings),
            run_id=snakemake.wildcards.run_id,
            iteration=int(snakemake.wildcards.iteration),
        )
