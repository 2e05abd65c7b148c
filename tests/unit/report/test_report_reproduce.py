"""Repeating a run from its log."""

from __future__ import annotations

import json
import shutil

import pytest

from haystack.cli import main
from haystack.config import load_settings
from haystack.contracts import read_json
from haystack.contracts.runlog import RunLog
from haystack.errors import ConfigError
from haystack.report import compare_logs
from haystack.report.reproduce import ReproductionError, reproduce


@pytest.fixture
def root(tmp_path):
    """A pipeline's folder."""
    folder = tmp_path / "pipeline"
    for name in ("workflow/Snakefile", "config/config.yaml", "config/runs.tsv", "config/atlases.yaml", "results/old"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


@pytest.fixture
def log_path(finish, tmp_path):
    """A log whose only input is a file of the pipeline's folder."""
    path = tmp_path / "run_demo_log.json"
    text = json.loads(finish().file("log.json").read_text())
    text["inputs"] = {}
    path.write_text(json.dumps(text))
    return path


def changed(log, **values):
    data = json.loads(log.model_dump_json(by_alias=True))
    last = data["iterations"][-1]
    last["grounding"]["composite_value"] += values.get("composite", 0)
    last["decision"]["best_prompt_id"] = values.get("best_prompt_id", last["decision"]["best_prompt_id"])
    data["outputs"] |= values.get("outputs", {})
    data["versions"] |= values.get("versions", {})
    return RunLog.model_validate(data)


def test_a_log_equals_itself(finish):
    found = compare_logs(finish().log, finish().log)
    assert found.same
    assert found.identical == sorted(finish().log.outputs)
    assert found.different == []
    assert found.environment == []


def test_small_differences_of_composites_are_the_same_answer(finish):
    log = finish().log
    near = compare_logs(log, changed(log, composite=0.29, outputs={"query.json": "0"}, versions={"torch": "0"}))
    assert near.same
    assert near.different == ["query.json"]
    assert near.environment == [f"torch {log.versions.get('torch', 'absent')}, now 0"]
    far = compare_logs(log, changed(log, composite=0.31))
    assert not far.same
    assert far.composites == ["iteration 2: 7.800, now 8.110"]


def test_other_decisions_are_another_answer(finish):
    log = finish().log
    found = compare_logs(log, changed(log, best_prompt_id="i2_p2"))
    assert found.decisions == ["iteration 2, best_prompt_id: i2_p1, now i2_p2"]
    shorter = log.model_copy(update={"iterations": log.iterations[:1]})
    assert compare_logs(log, shorter).decisions == ["iterations: 2, now 1"]


def test_reproduce_prepares_a_folder_and_compares(finish, root, log_path, tmp_path):
    folder = tmp_path / "again"
    commands = []

    def run(command):
        commands.append(command)
        target = folder / "results" / "runs" / "run_demo" / "run_demo_log.json"
        target.parent.mkdir(parents=True)
        shutil.copy(log_path, target)
        return 0

    assert reproduce(log_path, root, folder, cores=2, run=run).same
    assert commands[0][-4:] == ["--directory", str(folder), "--cores", "2"]
    assert (folder / "workflow" / "Snakefile").exists()
    assert (folder / "config" / "atlases.yaml").exists()
    assert not (folder / "results" / "old").exists()
    settings = load_settings(json.loads((folder / "config" / "config.yaml").read_text()))
    assert settings.data_dir == str((root / "../shared/data").resolve())
    assert settings.model_dump(exclude={"data_dir"}) == load_settings(finish().log.settings).model_dump(
        exclude={"data_dir"}
    )
    assert (folder / "config" / "runs.tsv").read_text() == f"run_id\tquery\nrun_demo\t{finish().options.question}\n"


def test_a_failed_pipeline_is_an_error(root, log_path, tmp_path):
    with pytest.raises(ReproductionError, match="exit code 3"):
        reproduce(log_path, root, tmp_path / "again", cores=1, run=lambda command: 3)


def test_changed_inputs_are_refused_before_work_starts(finish, root, log_path, tmp_path):
    text = json.loads(log_path.read_text())
    text["inputs"] = {"sets": {"path": "config/atlases.yaml", "sha256": "0" * 64}, "gone": {"path": "x", "sha256": "0"}}
    log_path.write_text(json.dumps(text))
    with pytest.raises(ReproductionError, match=r"sets: config/atlases\.yaml has other content.*gone: x is not there"):
        reproduce(log_path, root, tmp_path / "again", cores=1, run=lambda command: pytest.fail("started"))
    assert not (tmp_path / "again").exists()


def test_elsewhere_is_refused(log_path, tmp_path):
    with pytest.raises(ConfigError, match="Run this in the folder of the pipeline"):
        reproduce(log_path, tmp_path, tmp_path / "again", cores=1)


def test_command_says_what_differs(root, log_path, monkeypatch, capsys):
    from haystack.report import reproduce as module

    monkeypatch.chdir(root)

    def run(command):
        target = root / "results" / "reproduce" / "run_demo" / "results" / "runs" / "run_demo" / "run_demo_log.json"
        target.parent.mkdir(parents=True)
        log = read_json(log_path, RunLog)
        target.write_text(changed(log, composite=1.0, outputs={"query.json": "0"}).model_dump_json(by_alias=True))
        return 0

    monkeypatch.setattr(module, "_run", run)
    assert main(["reproduce", str(log_path)]) == 1
    out = capsys.readouterr().out
    assert "1 differ" in out
    assert "composite: iteration 2: 7.800, now 8.800" in out
    assert "NOT the same answer" in out
