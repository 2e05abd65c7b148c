"""What rules ask of the plan, with plain wildcards."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from haystack.contracts import Decision, TerminationReason, write_json
from haystack.errors import ConfigError
from haystack.workflow import Plan, placed
from haystack.workflow.checks import check_plan

ATLAS = {"path": "a.h5ad", "obs": {"cell_type": "label"}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs.tsv").write_text(
        "run_id\tquery\tmax_iterations\nr1\tHow would B cells respond to IL-4?\t2\nr.1\tx\t\n".replace("r.1", "r-2")
    )
    return tmp_path


def plan(**config):
    return Plan({"runs": "runs.tsv", "atlases": {"a": ATLAS, "b": {**ATLAS, "path": "gs://bucket/b.zarr"}}, **config})


def test_params_hold_the_runs_own_settings_and_only_those_asked_for(folder):
    wildcards = SimpleNamespace(run_id="r1", iteration="1")
    given = plan(score_threshold=6).get("max_iterations", "score_threshold")(wildcards)
    assert given == {"max_iterations": 2, "score_threshold": 6}


def test_wildcard_admits_the_listed_runs_only(folder):
    pattern = plan().run_pattern
    assert re.fullmatch(pattern, "r1")
    assert not re.fullmatch(pattern, "rx2")


def test_remote_atlases_are_no_inputs(folder):
    assert plan().atlas_files() == ["a.h5ad"]
    assert plan().atlas_file(SimpleNamespace(atlas="b")) == []


def test_third_iteration_reads_what_was_tried_and_the_last_grounding(folder):
    wildcards = SimpleNamespace(run_id="r1", iteration="3")
    assert plan().previous_prompts(wildcards) == [f"results/runs/r1/iter_{i}/prompts.json" for i in (1, 2)]
    assert plan().previous_grounding(wildcards) == ["results/runs/r1/iter_2/grounding.json"]
    assert len(plan().groundings(wildcards)) == 3
    assert plan().previous_grounding(SimpleNamespace(run_id="r1", iteration="1")) == []


def test_walk_ends_at_the_first_stop_and_the_best_iteration_is_the_answer(folder):
    for i, reason in enumerate([None, None, TerminationReason.PLATEAU], 1):
        path = Path(f"results/runs/r1/iter_{i}/decision.json")
        decision = Decision(
            run_id="r1", iteration=i, continue_=reason is None, reason=reason, best_iteration=2, best_prompt_id="p",
            scores=[], refinement=None,
        )  # fmt: skip
        write_json(path, decision)

    def get(run_id, iteration):
        assert iteration <= 3, "asked for an iteration after the last"
        output = SimpleNamespace(decision=f"results/runs/{run_id}/iter_{iteration}/decision.json")
        return SimpleNamespace(output=output)

    checkpoints = SimpleNamespace(decide=SimpleNamespace(get=get))
    wildcards = SimpleNamespace(run_id="r1")
    assert plan().every_iteration(checkpoints, "de.parquet")(wildcards) == [
        f"results/runs/r1/iter_{i}/de.parquet" for i in (1, 2, 3)
    ]
    assert plan().best_iteration(checkpoints, "cells.h5ad")(wildcards) == "results/runs/r1/iter_2/cells.h5ad"


def test_model_files_are_those_given_or_those_to_be_trained_or_none(folder):
    given = plan(model={"kind": "stack", "name": "m", "path": "models/m"})
    assert given.model_files()[0] == "models/m/model.safetensors"
    trained = plan(model={"kind": "stack", "name": "m", "path": None, "train": {"atlases": ["a"]}})
    assert trained.model_files()[0] == "results/model/m/model.safetensors"
    assert trained.training_tables() == ["results/index/a/cells.parquet"]
    assert plan(model={"kind": "additive", "name": "additive", "path": None}).model_files() == []


def test_training_on_an_unknown_atlas_is_refused(folder):
    wrong = plan(model={"kind": "stack", "name": "m", "path": None, "train": {"atlases": ["c"]}})
    with pytest.raises(ConfigError, match="unknown atlas 'c'"):
        wrong.training_tables()


def test_check_names_all_problems_at_once_and_leaves_bad_questions_to_keep_going(folder):
    config = {
        "atlases": {"a": ATLAS},
        "enrichment": {"libraries": {"mine": "nowhere.gmt"}},
        "model": {"kind": "additive", "name": "additive", "path": None},
    }
    with pytest.raises(ConfigError) as error:
        check_plan(plan(**config))
    assert "nowhere.gmt" in str(error.value)
    assert "a.h5ad" in str(error.value)
    assert "run r-2" in str(error.value)
    with pytest.raises(ConfigError) as error:
        check_plan(plan(**config), keep_going=True)
    assert "run r-2" not in str(error.value)


def test_default_config_is_a_plan(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[3])
    config = yaml.safe_load(Path("config/config.yaml").read_text())
    assert Plan(config).run_ids


def test_atlases_with_an_address_are_fetched_and_only_those(folder):
    public = {**ATLAS, "path": "resources/atlases/p.h5ad", "url": "https://example.org/p.h5ad"}
    fetched = plan(atlases={"a": ATLAS, "p": public}, offline=False)
    assert re.fullmatch(fetched.download_pattern, "p.h5ad")
    assert fetched.download(SimpleNamespace(file="p.h5ad"))["name"] == "p"
    assert not re.fullmatch(plan().download_pattern, "a.h5ad")


def test_absent_atlas_with_an_address_is_refused_offline(folder):
    public = {**ATLAS, "path": "resources/atlases/p.h5ad", "url": "https://example.org/p.h5ad"}
    config = {
        "atlases": {"p": public},
        "enrichment": {"libraries": {}, "regulons": None},
        "model": {"kind": "additive", "name": "additive", "path": None},
    }
    with pytest.raises(ConfigError, match=r"offline: true"):
        check_plan(plan(**config), keep_going=True)
    check_plan(plan(**config, offline=False), keep_going=True)


def test_keep_going_leaves_a_bad_atlas_out_as_long_as_another_is_left(folder, caplog):
    simulated = {**ATLAS, "path": "results/demo/s.h5ad", "simulated": True}
    config = {
        "enrichment": {"libraries": {}, "regulons": None},
        "model": {"kind": "additive", "name": "additive", "path": None},
    }
    going_on = plan(**config, atlases={"a": ATLAS, "s": simulated})
    check_plan(going_on, keep_going=True)
    assert list(going_on.atlases) == ["s"]
    assert "a.h5ad" in caplog.text
    with pytest.raises(ConfigError, match=r"a\.h5ad"):
        check_plan(plan(**config, atlases={"a": ATLAS}), keep_going=True)
    trained = {"kind": "stack", "name": "m", "path": None, "train": {"atlases": ["a"]}}
    with pytest.raises(ConfigError, match=r"a\.h5ad"):
        check_plan(plan(**{**config, "model": trained}, atlases={"a": ATLAS, "s": simulated}), keep_going=True)


def test_named_libraries_are_fetched_online_and_demanded_offline(folder):
    config = {
        "enrichment": {"libraries": {"reactome": "enrichr:Reactome_Pathways_2024"}, "regulons": None},
        "model": {"kind": "additive", "name": "additive", "path": None},
        "atlases": {"s": {**ATLAS, "path": "results/demo/s.h5ad", "simulated": True}},
    }
    run = SimpleNamespace(run_id="r1", iteration="1")
    kept = Path("results/genesets/enrichr.Reactome_Pathways_2024.gmt")
    online = plan(**config, offline=False)
    assert re.fullmatch(online.library_pattern, kept.stem)
    assert online.library_address(SimpleNamespace(library=kept.stem)) == "enrichr:Reactome_Pathways_2024"
    assert online.library_files(run) == [str(kept)]
    assert online.library_provenance(run) == [str(kept.with_suffix(".json"))]
    check_plan(online, keep_going=True)

    with pytest.raises(
        ConfigError, match=r"enrichment\.libraries: offline: true, and .*\.gmt is absent.*offline: false"
    ):
        check_plan(plan(**config), keep_going=True)
    kept.parent.mkdir(parents=True)
    kept.write_text("a\tb\tISG15\n")
    offline = plan(**config)
    check_plan(offline, keep_going=True)
    assert not re.fullmatch(offline.library_pattern, kept.stem)
    assert offline.library_provenance(run) == []

    copies = [f".snakemake/storage/fs/data/{kept}"]
    settings = placed(offline.settings, copies)
    assert settings.enrichment.libraries == {"reactome": copies[0]}
    assert placed(offline.settings, []).enrichment.libraries == {"reactome": str(kept)}


def test_a_corrupt_model_is_found_before_work_starts(folder, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(Path(__file__).parents[3] / "resources/demo/model", model)
    settings = {"model": {"kind": "stack", "path": str(model)}, "query": {"strict": False}}
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    with pytest.raises(ConfigError, match=r"model\.safetensors: .*sha256"):
        check_plan(plan(**settings, atlases={"a": ATLAS}), keep_going=True)


@pytest.mark.parametrize(("kind", "expected"), [("stack", 2), ("additive", 1), ("transfer", 1)])
def test_only_networks_take_more_than_one_core(folder, kind, expected):
    assert plan(model={"kind": kind, "path": None} if expected == 1 else {}).model_threads == expected
