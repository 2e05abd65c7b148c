"""Repeating a run from its log."""

from __future__ import annotations

import json
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from haystack.cli import main
from haystack.config import load_settings
from haystack.contracts import read_json
from haystack.contracts.runlog import RunLog
from haystack.errors import ConfigError
from haystack.report import compare_logs
from haystack.report.differences import describe_difference
from haystack.report.reproduce import ReproductionError, reproduce
from haystack.report.reproduce_folder import prepare_folder


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
    assert settings.model_dump() == load_settings(finish().log.settings).model_dump()
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


def with_settings(log, **values):
    return log.model_copy(update={"settings": log.settings | values})


def test_paths_out_of_the_folder_keep_their_text_and_lead_where_they_did(finish, root, tmp_path):
    (tmp_path / "atlases").mkdir()
    (tmp_path / "atlases" / "x.h5ad").write_text("cells")
    (tmp_path / "shared" / "data").mkdir(parents=True)
    (tmp_path / "shared" / "data" / "y.h5ad").write_text("more cells")
    atlases = "x:\n  path: ../atlases/x.h5ad\ny:\n  path: '{data_dir}/y.h5ad'\n"
    (root / "config" / "atlases.yaml").write_text(atlases)
    work = prepare_folder(finish().log, root, tmp_path / "deep" / "again")
    assert work == tmp_path / "deep" / "again" / "pipeline"
    assert (work / "config" / "atlases.yaml").read_text() == atlases
    assert (work / "../atlases/x.h5ad").read_text() == "cells"
    settings = json.loads((work / "config" / "config.yaml").read_text())
    assert settings == finish().log.settings
    assert (work / settings["data_dir"] / "y.h5ad").read_text() == "more cells"
    assert prepare_folder(finish().log, root, tmp_path / "deep" / "again") == work
    assert sorted(item.name for item in (tmp_path / "deep").iterdir()) == ["again"]


def test_paths_that_go_up_far_stay_inside_the_folder(finish, root, tmp_path):
    (tmp_path / "far.h5ad").write_text("cells")
    up = "/".join([".."] * (len(root.parts) + 3))
    entry = {"path": f"{up}{tmp_path}/far.h5ad"}
    work = prepare_folder(with_settings(finish().log, atlases={"far": entry}), root, tmp_path / "again")
    assert (work / entry["path"]).read_text() == "cells"
    assert sorted(item.name for item in tmp_path.iterdir() if item.name != "run_demo_log.json") == [
        *("again", "far.h5ad", "pipeline"),
    ]


def test_the_table_of_runs_keeps_its_place_and_the_first_one_its_content(finish, root, tmp_path):
    table = root / "config" / "mine" / "runs.tsv"
    table.parent.mkdir()
    table.write_text("the user's own")
    (table.parent / "notes.txt").write_text("beside it")
    log = with_settings(finish().log, runs="config/mine/runs.tsv")
    work = prepare_folder(log, root, tmp_path / "again")
    assert json.loads((work / "config" / "config.yaml").read_text()) == log.settings
    assert "run_demo" in (work / "config" / "mine" / "runs.tsv").read_text()
    assert (work / "config" / "mine" / "notes.txt").read_text() == "beside it"
    assert table.read_text() == "the user's own"


@pytest.mark.parametrize("runs", ["run_id\tquery\na\tHow?\n", "/nowhere/runs.tsv", "../runs.tsv", "results/runs.tsv"])
def test_a_table_that_cannot_keep_its_place_gets_the_usual_one(finish, root, tmp_path, runs):
    work = prepare_folder(with_settings(finish().log, runs=runs), root, tmp_path / "again")
    assert json.loads((work / "config" / "config.yaml").read_text())["runs"] == "config/runs.tsv"
    assert "run_demo" in (work / "config" / "runs.tsv").read_text()


def test_differences_are_told_in_words(tmp_path):
    def cells(name, x=1.0, score=0.5, data_dir="a"):
        uns = {"config": json.dumps({"data_dir": data_dir, "seed": 0}), "run_id": "r"}
        obs = pd.DataFrame({"score": [score, np.nan]}, index=["c1", "c2"])
        ad.AnnData(np.array([[x], [2.0]], dtype="float32"), obs=obs, uns=uns).write_h5ad(tmp_path / name)
        return tmp_path / name

    first = cells("a.h5ad")
    assert describe_difference(first, cells("b.h5ad", data_dir="b")) == (
        "equal cells, other metadata (uns config.data_dir)"
    )
    assert describe_difference(first, cells("b.h5ad", x=3)) == "other cells (X)"
    assert describe_difference(first, cells("b.h5ad", score=1, data_dir="b")) == (
        "other cells (obs: score), other metadata (uns config.data_dir)"
    )
    one, two = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_text("gene,padj\nA,0.1\n")
    two.write_text("gene,padj\nA,0.2\n")
    assert describe_difference(one, two) == "padj"
    two.write_text("gene,padj\nA,0.10\n")
    assert describe_difference(one, two) == "equal values, other bytes"
    two.write_text("gene,padj\n")
    assert describe_difference(one, two) == "1 rows, now 0"
    (tmp_path / "a.json").write_text('{"a": {"b": [1, 2]}, "c": 3}')
    (tmp_path / "b.json").write_text('{"a": {"b": [1, 4]}}')
    assert describe_difference(tmp_path / "a.json", tmp_path / "b.json") == "a.b[1], c"


def test_command_tells_equal_cells_from_other_metadata(finish, root, tmp_path, monkeypatch, capsys):
    from haystack.files import sha256
    from haystack.report import reproduce as module

    name = "run_demo_predictions.h5ad"
    log = json.loads(finish().file("log.json").read_text()) | {"inputs": {}}
    shutil.copy(finish().file("predictions.h5ad"), tmp_path / name)
    (tmp_path / "run_demo_log.json").write_text(json.dumps(log))

    def run(command):
        target = root / "results" / "reproduce" / "run_demo" / "results" / "runs" / "run_demo"
        target.mkdir(parents=True)
        adata = ad.read_h5ad(tmp_path / name)
        adata.uns["config"] = adata.uns["config"].replace('"../shared/data"', '"/elsewhere"')
        adata.write_h5ad(target / name)
        outputs = log["outputs"] | {name: sha256(target / name)}
        (target / "run_demo_log.json").write_text(json.dumps(log | {"outputs": outputs}))
        return 0

    monkeypatch.chdir(root)
    monkeypatch.setattr(module, "_run", run)
    assert main(["reproduce", str(tmp_path / "run_demo_log.json")]) == 0
    out = capsys.readouterr().out
    assert f"differs: {name}: equal cells, other metadata (uns config.data_dir)" in out
    assert "repeated in results/reproduce/run_demo" in out
