"""Read the labels of one atlas and map them to ontologies."""

if "snakemake" in globals():
    from haystack.atlas import harmonize_atlas
    from haystack.config import AtlasEntry
    from haystack.workflow import script_logging

    with script_logging(snakemake):
        harmonize_atlas(
            name=snakemake.wildcards.atlas,
            entry=AtlasEntry.model_validate(snakemake.params.entry),
            out_cells=snakemake.output.cells,
            out_mapping=snakemake.output.mapping,
        )
