"""Group the cells of all atlases into cell sets."""

if "snakemake" in globals():
    from haystack.atlas import index_cell_sets
    from haystack.workflow import script_logging

    with script_logging(snakemake):
        index_cell_sets(
            cells=dict(zip(snakemake.params.atlases, snakemake.input.cells, strict=True)),
            out=snakemake.output.cell_sets,
        )
