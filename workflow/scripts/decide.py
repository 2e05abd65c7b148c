"""Decide whether another iteration is worth it."""

if "snakemake" in globals():
    from haystack.config import Settings
    from haystack.loop import write_decision
    from haystack.workflow import script_logging

    with script_logging(snakemake):
        write_decision(
            groundings=snakemake.input.groundings,
            prompts=snakemake.input.prompts,
            out=snakemake.output.decision,
            settings=Settings.model_validate(snakemake.params.settings),
        )
