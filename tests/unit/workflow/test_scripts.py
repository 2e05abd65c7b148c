"""What scripts leave behind when their run was cancelled."""

import json
from types import SimpleNamespace

import pytest

from haystack.workflow import script_logging


def job(rule):
    return SimpleNamespace(
        rule=rule, log=["job.log"], output=["out"], wildcards=SimpleNamespace(run_id="a", iteration="2")
    )


def test_a_cancelled_run_predicts_no_more(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results/runs/a"
    folder.mkdir(parents=True)
    (folder / "cancelled.json").write_text("{}")
    with script_logging(job("enrich_predictions")):
        pass
    assert not (folder / "failure.json").exists()
    with pytest.raises(SystemExit), script_logging(job("stack_inference")):
        pytest.fail("predicted")
    failure = json.loads((folder / "failure.json").read_text())
    assert (failure["error_type"], failure["iteration"]) == ("CancelledRunError", 2)
    assert "Delete results/runs/a/cancelled.json" in failure["message"]
