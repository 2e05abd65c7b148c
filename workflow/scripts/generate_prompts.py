"""Choose prompt, control and query cells, and those of the model's exam, and write them as one file for the model."""

if "snakemake" in globals():
    from haystack.config import Settings
    from haystack.prompting import write_prompts
    from haystack.transfer import choose_exam
    from haystack.workflow import entries, script_logging

    with script_logging(snakemake):
        atlases = entries(snakemake.params.entries, snakemake.input)
        index = {
            "query": snakemake.input.query,
            "cell_sets": snakemake.input.cell_sets,
            "cells": dict(zip(atlases, snakemake.input.cells, strict=True)),
            "settings": Settings.model_validate(snakemake.params.settings),
        }
        write_prompts(
            candidates=snakemake.input.candidates,
            atlases=atlases,
            out_prompts=snakemake.output.prompts,
            out_cells=snakemake.output.cells,
            exam=choose_exam(n=snakemake.params.exam, **index),
            **index,
        )
