"""Settings: unknown keys, secrets, atlases, and the schema that editors read."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from haystack.config import AtlasEntry, Settings, TrainSettings, ValidationSettings, load_atlases, load_settings
from haystack.errors import ConfigError
from haystack.report.provenance import licences
from haystack.schemas import SCHEMA, default_config, pages, schema, section_of, with_table
from haystack.specs import MODELS

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("config", "wrong", "near"),
    [
        ({"score_treshold": 3}, "score_treshold", "score_threshold"),
        ({"retrieval": {"max_hop": 2}}, "retrieval.max_hop", "max_hops"),
        ({"retrieval": {"exclude": [{"cell_typ": ["B cell"]}]}}, "cell_typ", "cell_type"),
        ({"model": {"train": {"atlases": ["a"], "n_gene": 5}}}, "n_gene", "n_genes"),
    ],
)
def test_unknown_key_suggests_the_nearest(config, wrong, near):
    with pytest.raises(ConfigError) as error:
        load_settings(config)
    assert wrong in str(error.value)
    assert f"'{near}'" in str(error.value)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"score_threshold": 11}, "score_threshold"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"control_strategy": "none"}, "control_strategy"),
        ({"model": {"path": None}}, "model"),
        ({"de": {"padj": float("nan")}}, "de.padj"),
    ],
)
def test_wrong_value_names_the_field(config, field):
    with pytest.raises(ConfigError, match=field):
        load_settings(config)


@pytest.mark.parametrize("key", ["api_key", "openai_api_key", "PASSWORD", "hf_token"])
def test_secret_is_refused_wherever_it_stands(key):
    with pytest.raises(ConfigError, match="environment"):
        load_settings({"literature": {key: "abc"}})


def test_a_setting_whose_name_holds_the_word_token_is_no_secret():
    settings = load_settings({"model": {"path": None, "train": {"atlases": ["a"], "token_dim": 4}}})
    assert settings.model.train.token_dim == 4


def test_tracked_files_follow_the_models():
    """Written by `python -m haystack.schemas`; run it after a change of the settings or contracts."""
    assert (REPOSITORY / "config/config.yaml").read_text() == default_config()
    assert yaml.safe_load(default_config()).keys() == Settings.model_fields.keys()
    assert load_settings(yaml.safe_load(default_config())) == Settings()
    for name, (table, rows) in pages().items():
        page = (REPOSITORY / name).read_text()
        assert page == with_table(page, table, rows), name
    assert (REPOSITORY / SCHEMA).read_text() == schema()
    # Editors look for the schema from where the config lies.
    (named,) = re.findall(r"^# yaml-language-server: \$schema=(.+)$", default_config(), re.MULTILINE)
    assert (REPOSITORY / "config" / named).resolve() == REPOSITORY / SCHEMA


def test_the_licence_is_said_alike_everywhere():
    words = " ".join((REPOSITORY / "LICENSE").read_text().split())
    assert words.startswith("MIT License Copyright (c) 2026 The HAYSTACK authors")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert (project["license"], project["license-files"]) == ("MIT", ["LICENSE"])
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert (citation["license"], citation["authors"]) == ("MIT", [{"name": "The HAYSTACK authors"}])
    assert citation["version"] == project["version"]
    assert licences(next(iter(MODELS)))[-1].startswith("HAYSTACK itself: MIT.")


@pytest.mark.parametrize("model", [Settings, AtlasEntry, TrainSettings, ValidationSettings])
def test_every_setting_says_what_it_is(model):
    silent = [name for name, field in model.model_fields.items() if not field.description and not section_of(field)]
    assert silent == []


def test_data_dir_is_filled_in():
    entry = {"path": "{data_dir}/a.h5ad", "obs": {"cell_type": "cell_type"}}
    atlases = load_atlases(Settings(atlases={"kang": entry}, data_dir="/data"))
    assert atlases["kang"].path == "/data/a.h5ad"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"atlases": "nowhere.yaml"}, "nowhere.yaml: no such file"),
        ({"atlases": {"a": {"path": "x", "obs": {"cell_type": "c"}}}, "use_atlases": ["b"]}, "unknown atlas 'b'"),
        ({"atlases": {"../a": {"path": "x", "obs": {"cell_type": "c"}}}}, "may hold only letters"),
        ({"atlases": {}}, "no atlas is listed"),
    ],
)
def test_wrong_atlases_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        load_atlases(Settings(**settings))


def test_perturbation_column_needs_control_labels():
    with pytest.raises(ConfigError, match="control_labels"):
        load_settings({"atlases": {"a": {"path": "x", "obs": {"cell_type": "c", "perturbation": "p"}}}})
