"""The pipeline as a module of another workflow, in a folder that holds nothing but a config."""

import os
import subprocess
import sys

import pytest
import yaml

OTHER = """
configfile: "config/other.yaml"

module haystack:
    snakefile: "{snakefile}"
    config: config["haystack"]

use rule * from haystack {renamed}

rule mine:
    default_target: True
    input:
        rules.{prefix}summarize_runs.output.tsv,
    output:
        "mine.txt",
    shell:
        "cut -f1,3 {{input}} > {{output}}"
"""


def other_workflow(pipeline, tmp_path, renamed: str, prefix: str):
    """A folder of somebody else; the pipeline itself lies in `pipeline.folder`."""
    folder = tmp_path / "other"
    (folder / "config").mkdir(parents=True)
    (folder / "Snakefile").write_text(
        OTHER.format(snakefile=pipeline.path("workflow/Snakefile"), renamed=renamed, prefix=prefix)
    )
    (folder / "config/runs.tsv").write_text(pipeline.path("config/runs.tsv").read_text())
    (folder / "config/atlases.yaml").write_text(pipeline.path("config/atlases.yaml").read_text())
    (folder / "config/other.yaml").write_text(yaml.safe_dump({"haystack": pipeline.settings}))
    return folder


def snakemake(folder, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [("as haystack_*", "haystack_"), pytest.param(("", ""), marks=pytest.mark.nightly)],
    ids=["renamed", "as is"],
)
def test_all_rules_of_the_pipeline_in_another_workflow(pipeline, tmp_path, names):
    pipeline.set(max_iterations=1)
    folder = other_workflow(pipeline, tmp_path, *names)
    snakemake(folder)
    assert (folder / "mine.txt").read_text() == "run_id\tstatus\nmonocytes_ifng\tcompleted\n"
    assert (folder / "results/runs/monocytes_ifng/monocytes_ifng_report.html").exists()
    assert "Nothing to be done" in snakemake(folder)
