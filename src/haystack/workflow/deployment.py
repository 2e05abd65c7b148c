"""Environments that Snakemake makes for rules (`--sdm`): what goes into them, and whether it is still this package."""

from __future__ import annotations

import importlib.metadata
import json
import os
from pathlib import Path

from haystack.errors import ConfigError

REQUIREMENT = "HAYSTACK_REQUIREMENT"
"""environment variable: what the post-deploy script of workflow/envs installs"""
CONSTRAINTS = "HAYSTACK_CONSTRAINTS"
"""environment variable: constraints of that installation; empty where the package has none beside it"""
ENVIRONMENT = "HAYSTACK_ENVIRONMENT"
"""environment variable: hash of the package that Snakemake runs; a rule's environment must hold the same"""


def prepare_environments(methods: set[str]) -> None:
    """Say to the environments of rules where this package is from, whatever folder Snakemake works in.

    Parameters
    ----------
    methods
        of `--software-deployment-method`, in lower case.

    Raises
    ------
    ConfigError
        for containers, which no rule names, and for a package that cannot be installed a second time.
    """
    if methods & {"apptainer", "singularity"}:
        raise ConfigError(
            "--sdm apptainer: no rule names a container, so all would run in this environment all the same. Run "
            "Snakemake itself within the image (docker/build.sh, target inference), or use --sdm conda"
        )
    if "conda" in methods:
        from haystack.codehash import package_hash

        source, constraints = _source()
        os.environ[REQUIREMENT] = f"haystack[stack] @ {source}"
        os.environ[CONSTRAINTS] = constraints
        os.environ[ENVIRONMENT] = package_hash()


def check_environment() -> None:
    """In a rule's script: its environment holds the package that Snakemake runs, not an older one.

    Raises
    ------
    ConfigError
        where it does not: Snakemake keeps an environment whose file has not changed.
    """
    wanted = os.environ.get(ENVIRONMENT)
    if wanted is None:
        return
    from haystack.codehash import package_hash

    if package_hash() != wanted:
        raise ConfigError(
            "this rule's conda environment holds another version of haystack than the one that runs Snakemake. Delete "
            ".snakemake/conda and start again: the environments are made anew"
        )


def _source() -> tuple[str, str]:
    """Where pip finds this package, and its constraints: a checkout, or the address that it was installed from."""
    root = Path(__file__).resolve().parents[3]
    if (root / "pyproject.toml").is_file():
        return root.as_uri(), str(root / "constraints.txt")
    text = importlib.metadata.distribution("haystack").read_text("direct_url.json")
    found = json.loads(text) if text else {}
    commit = found.get("vcs_info", {}).get("commit_id")
    if commit:
        return f"{found['vcs_info']['vcs']}+{found['url']}@{commit}", ""
    if str(found.get("url", "")).startswith(("https://", "file://")):
        return str(found["url"]), ""
    raise ConfigError(
        "--sdm conda: the environments of rules need this package too, and nothing says where it was installed from. "
        "Install it from a checkout or a git address: pip install 'haystack @ git+https://...'"
    )
