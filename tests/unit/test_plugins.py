"""A model, a component, a strategy, ... from outside the package: one file each, found by entry points."""

from __future__ import annotations

import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack import registry
from haystack.config import EnrichmentSettings, ModelSettings, load_settings
from haystack.contracts import Perturbation, StructuredQuery
from haystack.errors import ConfigError
from haystack.report.collect import model_log
from haystack.report.provenance import licences
from haystack.report.words import component, strategy
from haystack.specs import BACKENDS, COMPONENTS, MODELS

BACKEND = """
from haystack.specs import BackendSpec

SPEC = BackendSpec(name="cluster", title="our cluster", open=lambda settings: "opened")
"""
STORAGE = """
from haystack.specs import StorageSpec

SPEC = StorageSpec(name="shelf", title="a shelf", provider="shelves", open=lambda: "opened")
"""


@pytest.fixture
def plug_in(toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a plug-in and put it on the path."""

    def install(kind: str, name: str, module: str, source: str) -> None:
        monkeypatch.syspath_prepend(str(toys.install(tmp_path, kind, name, module, source)))

    yield install
    for name in [name for name in sys.modules if name.startswith("toy_")]:
        del sys.modules[name]


def cells(n: int, seed: int) -> ad.AnnData:
    counts = np.random.default_rng(seed).poisson(2.0, (n, 60)).astype(np.float32)
    return ad.AnnData(sparse.csr_matrix(counts), var=pd.DataFrame(index=[f"G{index}" for index in range(60)]))


def question(task_type: str = "perturbation_novel_cell_types") -> StructuredQuery:
    own = Perturbation(query="x", name="x", expected_targets={"G1": 1})
    return StructuredQuery(raw_query="What does x do?", task_type=task_type, perturbations=[own])


def test_built_in_ones_come_in_order():
    asked = ["stack", "no_change", "prompt_mean", "additive"]
    assert [spec.name for spec in MODELS if spec.name in asked] == asked
    assert MODELS.module("additive") == "haystack.inference.models.additive"


def test_an_unknown_model_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"model\.kind: unknown name 'aditive'\. Did you mean 'additive'\?"):
        load_settings({"model": {"kind": "aditive"}})


def test_an_unknown_component_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"unknown name 'target_activaton'.*'target_activation'"):
        load_settings({"grounding": {"weights": {"target_activaton": 1}}})


def test_a_model_from_outside(plug_in, toys):
    plug_in("models", "doubling", "toy_model", toys.model)
    assert load_settings({"model": {"kind": "doubling", "path": None}}).model.kind == "doubling"
    assert MODELS.module("doubling") == "toy_model"
    said = " ".join(licences(MODELS.get("doubling")))
    assert "for use on Sundays only" in said
    assert "of STACK" not in said
    log = model_log(MODELS.get("doubling"), ModelSettings(kind="doubling"))
    assert (log.citation, log.doi) == ("Two B. On doubling. Journal of Twos (2022).", "10.1234/two")


def test_a_component_from_outside(plug_in, toys):
    from haystack.grounding import ground_cells
    from haystack.grounding.score import Evidence

    plug_in("components", "head_count", "toy_component", toys.component)
    settings = load_settings({"grounding": {"permutations": 20}})
    assert settings.grounding.weights["head_count"] == 1.0
    evidence = Evidence({}, None, None, [], enrichment=EnrichmentSettings(), grounding=settings.grounding)
    found = ground_cells(question(), cells(40, 1), cells(40, 2), evidence)
    assert found.components["head_count"].score == 9
    assert found.weights["head_count"] > 0.5
    assert found.nulls["no_change"] < found.composite_value
    assert component("head_count") == ("Head count", "are there many cells?")


def test_a_strategy_from_outside(plug_in, toys, ask, sets):
    from haystack.retrieval.find import find_candidates

    plug_in("strategies", "largest", "toy_strategy", toys.strategy)
    frame = sets(
        {"id": "asked", "perturbation": "IFN-beta", "n": 50},
        {"id": "other", "perturbation": "aspirin", "n": 90},
        {"id": "control", "n": 60},
    )
    settings = load_settings({})
    found = find_candidates(ask(), frame, settings)
    other = next(item for item in found.candidates if item.cell_set.cell_set_id == "other")
    assert other.strategy == "largest"
    assert "largest: has many cells" in other.rationale
    assert found.counts["largest"] == 2
    assert strategy("largest") == "the largest sets"
    alone = load_settings({"retrieval": {"strategies": ["largest"]}})
    assert find_candidates(ask(), frame, alone).counts == {"largest": 2}


def test_an_unknown_strategy_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"retrieval\.strategies: unknown name 'semantics'\. Did you mean 'semantic'"):
        load_settings({"retrieval": {"strategies": ["semantics"]}})


@pytest.mark.parametrize("task_type", ["perturbation_novel_cell_types", "cell_type_imputation"])
def test_with_few_cells_a_component_from_outside_says_why_it_was_not_evaluated(plug_in, toys, task_type):
    from haystack.grounding import ground_cells
    from haystack.grounding.score import Evidence

    plug_in("components", "head_count", "toy_component", toys.component)
    evidence = Evidence({}, None, None, [], grounding=load_settings({}).grounding)
    found = ground_cells(question(task_type), cells(4, 1), cells(40, 2), evidence)
    assert not found.components["head_count"].evaluated
    assert "4" in found.components["head_count"].reason
    assert set(found.components) == set(
        evidence.grounding.weights_of("perturbation" if task_type.startswith("perturbation") else "observation")
    )
    assert found.composite_value is None


def test_a_backend_from_outside(plug_in, tmp_path):
    from haystack.runs.settings import load_service_settings

    with pytest.raises(ConfigError, match=r"backend: unknown name 'cluster'\. Known: batch, local"):
        load_service_settings(pipeline_dir=tmp_path, backend="cluster")
    plug_in("backends", "cluster", "toy_backend", BACKEND)
    assert BACKENDS.get(load_service_settings(pipeline_dir=tmp_path, backend="cluster").backend).open(None) == "opened"


def test_a_storage_from_outside(plug_in):
    from haystack.storage import provider, store

    plug_in("storages", "shelf", "toy_storage", STORAGE)
    assert provider("shelf://a/b") == "shelves"
    assert store("shelf://a/b") == "opened"


def test_a_broken_plug_in_is_named(plug_in):
    plug_in("components", "broken", "toy_broken", "SPEC = 1 / 0")
    assert "broken" in COMPONENTS.names()
    with pytest.raises(ConfigError, match=r"plug-in toy_broken.*ZeroDivisionError.*Repair or uninstall it"):
        COMPONENTS.get("broken")


def test_two_of_one_name_are_refused(plug_in, toys):
    plug_in("models", "additive", "toy_model", toys.model.replace("doubling", "additive"))
    with pytest.raises(ConfigError, match=r"'additive' is defined by .*additive and by toy_model"):
        MODELS.names()


def test_what_is_no_descriptor_is_refused(plug_in, toys):
    plug_in("models", "head_count", "toy_component", toys.component)
    with pytest.raises(ConfigError, match="is ComponentSpec, expected ModelSpec"):
        MODELS.get("head_count")


def test_names_agree(plug_in, toys):
    plug_in("models", "tripling", "toy_model", toys.model)
    with pytest.raises(ConfigError, match="calls itself 'doubling'"):
        MODELS.get("tripling")


def test_entry_points_are_read_once_though_a_script_repeats_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    known = MODELS.names()
    monkeypatch.setattr(registry, "entry_points", lambda: pytest.fail("read again"))
    monkeypatch.setattr(sys, "path", [*sys.path, *sys.path])
    assert MODELS.names() == known
