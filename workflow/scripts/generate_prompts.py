"""Choose prompt, control and query cells, and write them as one file for the model."""

if "snakemake" in globals():
    from haystack.config import Settings
    from haystack.prompting import write_prompts
    from haystack.workflow import entries, script_logging

    with script_logging(snakemake):
        atlases = entries(snakemake.params.entries, snakemake.input)
        write_prompts(
            query=snakemake.input.query,
            candidates=snakemake.input.candidates,
            cell_sets=snakemake.input.cell_sets,
            cells=dict(zip(atlases, snakemake.input.cells, strict=True)),
            atlases=atlases,
            out_prompts=snakemake.output.prompts,
            out_cells=snakemake.output.cells,
            settings=Settings.model_validate(snakemake.params.settings),
        )
