"""The pipeline end to end on simulated cells, and what reruns when something changes."""

import json
import re
import shutil
from pathlib import Path

import pytest

from haystack.cli import main
from haystack.errors import ConfigError
from haystack.workflow.debug import mock_snakemake

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
RUN = "results/runs/monocytes_ifng"


def jobs(output: str) -> dict[str, int]:
    """Rule -> number of jobs, from Snakemake's job statistics."""
    block = output.split("Job stats:")[1] if "Job stats:" in output else ""
    found = re.findall(r"^(\w+) +(\d+)$", block.split("total")[0], flags=re.MULTILINE)
    return {rule: int(count) for rule, count in found}


def decision(pipeline, iteration: int) -> dict:
    return json.loads(pipeline.path(f"{RUN}/iter_{iteration}/decision.json").read_text())


def test_all_files_of_the_design_are_there(finished):
    for name in ("candidates.json", "prompts.json", "cells.h5ad", "predictions.h5ad", "de.parquet"):
        assert finished.path(f"{RUN}/iter_1/{name}").stat().st_size > 0
    for name in ("report.html", "predictions.h5ad", "log.json", "de.csv", "enrichment.csv"):
        assert finished.path(f"{RUN}/monocytes_ifng_{name}").stat().st_size > 0
    assert decision(finished, 1)["continue"] is True
    assert decision(finished, 2) | {"reason": "max_iterations", "continue": False} == decision(finished, 2)
    assert not finished.path(f"{RUN}/iter_3").exists()
    assert "completed" in finished.path("results/summary.tsv").read_text()
    # Without --cache nothing is shared with other folders.
    assert not finished.path("results/index/cell_sets.parquet").is_symlink()
    # The profile's logger says where the run was, and what it scored.
    assert "monocytes_ifng, iteration 2: score" in finished.first_output
    assert "1 of 1 runs finished" in finished.first_output


def test_second_iteration_pools_the_best_cells_and_tries_others(finished):
    first, second = (
        json.loads(finished.path(f"{RUN}/iter_{iteration}/prompts.json").read_text())["prompts"] for iteration in (1, 2)
    )
    tried = {cells["cell_set_id"] for prompt in first for cells in prompt["cell_sets"]}
    pool = json.loads(finished.path(f"{RUN}/iter_1/grounding.json").read_text())["refinement"]["pool"]
    assert set(pool) <= tried
    sets = [{cells["cell_set_id"] for cells in prompt["cell_sets"]} for prompt in second]
    assert sets[0] == set(pool)
    assert len(sets) > 1
    assert not tried & set().union(*sets[1:])


def test_changed_threshold_decides_anew_without_predicting_anew(copy):
    reached = decision(copy, 1)["scores"][0]["composite_value"]
    assert reached is not None
    output = copy.run("--config", f"score_threshold={reached}")
    ran = jobs(output)
    assert ran.get("decide")
    assert not {"retrieve_cells", "generate_prompts", "stack_inference", "enrich_predictions"} & set(ran)
    assert decision(copy, 1)["reason"] == "threshold_reached"
    log = json.loads(copy.path(f"{RUN}/monocytes_ifng_log.json").read_text())
    assert "threshold_reached" in json.dumps(log)
    # And back: the loop goes on where it had stopped, with what is there.
    again = jobs(copy.run())
    assert again.get("collect_outputs")
    assert not {"retrieve_cells", "generate_prompts", "stack_inference", "enrich_predictions"} & set(again)
    log = json.loads(copy.path(f"{RUN}/monocytes_ifng_log.json").read_text())
    assert len(log["iterations"]) == 2


def test_edited_science_reruns_what_uses_it_and_a_comment_nothing(copy, monkeypatch):
    source = copy.path("src/haystack")
    shutil.copytree(REPOSITORY / "src", source.parent)
    monkeypatch.setenv("PYTHONPATH", str(source.parent))
    for module in source.rglob("*.py"):
        module.write_text(module.read_text() + "# A comment.\n")
    assert "Nothing to be done" in copy.run("-n")
    module = source / "grounding/de.py"
    module.write_text(module.read_text() + "EDITED = 1\n")
    output = copy.run("-n")
    planned = jobs(output)
    assert {"enrich_predictions", "ground_predictions", "decide"} <= set(planned)
    assert not {"parse_query", "harmonize_atlas", "generate_prompts", "stack_inference"} & set(planned)
    # Snakemake says why.
    assert "Params have changed since last execution" in output


def test_a_rule_can_be_stepped_through_in_python(copy, monkeypatch):
    monkeypatch.chdir(copy.folder)
    grounding = copy.path(f"{RUN}/iter_2/grounding.json")
    before = grounding.read_bytes()
    grounding.unlink()
    asked = ["debug", "ground_predictions", "--configfile", copy.configfile, "--run", "monocytes_ifng"]
    assert main(asked) == 1  # which iteration?
    assert main([*asked, "--iteration", "2"]) == 0
    assert grounding.read_bytes() == before
    # A rule after the loop gets the files of all iterations, as in a run.
    job = mock_snakemake("collect_outputs", Path(copy.configfile), run_id="monocytes_ifng")
    assert list(job.input.decisions) == [f"{RUN}/iter_{i}/decision.json" for i in (1, 2)]
    with pytest.raises(ConfigError, match=r"no rule 'collect_output'.*collect_outputs"):
        mock_snakemake("collect_output", Path(copy.configfile), run_id="monocytes_ifng")


def test_a_new_question_and_setting_reuse_what_they_can(copy):
    old = "Predict the effect of IFN-gamma on CD14+ monocytes"
    copy.ask(monocytes_ifng=old, b="How would B cells respond to IL-4?")
    planned = jobs(copy.run("-n", "--config", "de={log2fc: 1.0}"))
    # The finished run is tested anew from its first iteration on, and predicts nothing; the new one does.
    assert planned["enrich_predictions"] == 2
    assert planned["stack_inference"] == planned["parse_query"] == 1
    assert not {"harmonize_atlas", "index_cell_sets", "simulate_atlas"} & set(planned)


def test_snakemake_report_is_written_with_its_captions(finished):
    finished.run("--report", "report.html")
    text = finished.path("report.html").read_text()
    assert "monocytes_ifng" in text
    assert "Summary" in text
