"""A whole run with a model, a component and a strategy from outside the package, one file each."""

import json
import os

import pytest


@pytest.mark.slow
def test_a_run_with_plug_ins(pipeline, toys, tmp_path, monkeypatch):
    folders = [
        toys.install(tmp_path / "plug_ins", "models", "doubling", "toy_model", toys.model),
        toys.install(tmp_path / "plug_ins", "components", "head_count", "toy_component", toys.component),
        toys.install(tmp_path / "plug_ins", "strategies", "largest", "toy_strategy", toys.strategy),
    ]
    path = [*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    pipeline.set(model={"kind": "doubling", "name": "doubling", "path": None}, max_iterations=1)
    pipeline.run()
    run = pipeline.path("results/runs/monocytes_ifng")
    log = json.loads((run / "monocytes_ifng_log.json").read_text())
    assert "The doubling model: for use on Sundays only." in log["licences"]
    assert not any("of STACK" in text for text in log["licences"])
    assert log["model"]["doi"] == "10.1234/two"
    assert log["iterations"][0]["candidate_counts"]["largest"] > 0
    components = log["iterations"][0]["grounding"]["prompts"][0]["components"]
    assert components["head_count"]["score"] == 9
    page = (run / "monocytes_ifng_report.html").read_text()
    for text in ("for use on Sundays only", "Two B. On doubling", "the doubling model", "Head count"):
        assert text in page, text
    (folders[1] / "toy_component.py").write_text(toys.component.replace("score=9.0", "score=8.0"))
    planned = pipeline.run("-n")
    assert "ground_predictions" in planned
    assert "rule stack_inference" not in planned
