"""Environments of rules: what is installed, from any folder; containers are refused; an old package is noticed."""

import importlib.metadata
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from haystack.errors import ConfigError
from haystack.workflow import deployment

REPOSITORY = Path(__file__).parents[3]
SCRIPT = REPOSITORY / "workflow/envs/haystack.post-deploy.sh"


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in (deployment.REQUIREMENT, deployment.CONSTRAINTS, deployment.ENVIRONMENT):
        monkeypatch.setenv(name, "")  # whatever the code sets is taken back
        monkeypatch.delenv(name)


def test_containers_are_refused_in_one_sentence():
    with pytest.raises(ConfigError, match="no rule names a container"):
        deployment.prepare_environments({"apptainer"})


def test_the_package_of_a_checkout_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deployment.prepare_environments({"conda"})
    assert os.environ[deployment.REQUIREMENT] == f"haystack[stack] @ {REPOSITORY.as_uri()}"
    assert Path(os.environ[deployment.CONSTRAINTS]).is_file()
    (tmp_path / "bin").mkdir()
    # the script as Snakemake runs it, with a pip that says what it is asked for
    python = tmp_path / "bin/python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(["bash", str(SCRIPT)], env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.stdout.split("\n")[:-1] == [
        "-m", "pip", "install", "--quiet", "--constraint", os.environ[deployment.CONSTRAINTS],
        os.environ[deployment.REQUIREMENT],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ({"url": "https://x.org/h", "vcs_info": {"vcs": "git", "commit_id": "ab12"}}, "git+https://x.org/h@ab12"),
        ({"url": "https://x.org/h.whl"}, "https://x.org/h.whl"),
        (None, None),
    ],
)
def test_an_installed_package_is_installed_again_from_where_it_came(tmp_path, monkeypatch, address, expected):
    monkeypatch.setattr(deployment, "__file__", str(tmp_path / "a/b/c/d.py"))
    found = SimpleNamespace(read_text=lambda name: json.dumps(address) if address else None)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: found)
    if expected is None:
        with pytest.raises(ConfigError, match="nothing says where it was installed from"):
            deployment.prepare_environments({"conda"})
    else:
        deployment.prepare_environments({"conda"})
        assert os.environ[deployment.REQUIREMENT] == f"haystack[stack] @ {expected}"


def test_an_environment_with_another_package_is_noticed(monkeypatch):
    deployment.prepare_environments({"conda"})
    deployment.check_environment()
    monkeypatch.setenv(deployment.ENVIRONMENT, "000000000000")
    with pytest.raises(ConfigError, match=r"Delete \.snakemake/conda"):
        deployment.check_environment()
