"""Read the labels of one atlas and map them to ontologies."""

if "snakemake" in globals():
    from haystack.atlas import harmonize_atlas, read_model_genes
    from haystack.workflow import entries, script_logging

    with script_logging(snakemake):
        name = snakemake.wildcards.atlas
        harmonize_atlas(
            name=name,
            entry=entries({name: snakemake.params.entry}, snakemake.input)[name],
            out_cells=snakemake.output.cells,
            out_mapping=snakemake.output.mapping,
            out_intake=snakemake.output.intake,
            model_genes=read_model_genes(snakemake.params.model_genes),
        )
