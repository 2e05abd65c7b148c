"""Before anything is submitted: what the profile asks for, set against a real cluster."""

import shutil
from types import SimpleNamespace

import pytest

from haystack.errors import ConfigError
from haystack.workflow.slurm import Nodes, check_slurm, read_nodes

pytest.importorskip("snakemake_executor_plugin_slurm", reason="needs the extra slurm: pip install -e '.[slurm]'")


def arguments(status="squeue", default=None, **rules):
    return SimpleNamespace(
        slurm_status_command=status, default_resources=default or {"mem_mb": 2000, "runtime": 60}, set_resources=rules
    )


def test_nodes_as_sinfo_shows_them():
    text = (
        "main*|128000|64|(null)|infinite\n"
        "gpu|515000+|64|gpu:a100:4(S:0-1),gpu:l4:2|2-12:00:00\n"
        "short|4000|2|gpu:1|30:00\n"
    )
    assert list(read_nodes(text)) == [
        Nodes("main", 128000, 64, {}, float("inf"), default=True),
        Nodes("gpu", 515000, 64, {"a100": 4, "l4": 2}, 3600.0),
        Nodes("short", 4000, 2, {"": 1}, 30.0),
    ]


def test_a_cluster_that_has_all_of_it(on_cluster):
    check_slurm(arguments(stack_inference={"gres": "gpu:1", "mem_mb": 4000}))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"slurm_partition": "gpu"}, ["partition 'gpu'; there is main", "slurm_partition"]),
        ({"mem_mb": 32000}, ["32,000 MB of memory", "6,000 MB at most", "mem_mb"]),
        ({"mem_mb": "attempt * (32000 + 3 * int(input.size_mb))"}, ["32,000 MB of memory", "6,000 MB at most"]),
        ({"gres": "gpu:2"}, ["asks for gpu:2", "has gpu:1"]),
        ({"gres": "gpu:a100:1"}, ["asks for gpu:a100:1", "has gpu:1"]),
        ({"runtime": 600}, ["600 minutes", "a limit of 60"]),
    ],
)
def test_what_the_cluster_lacks_is_one_line_with_its_remedy(on_cluster, asked, words):
    with pytest.raises(ConfigError) as caught:
        check_slurm(arguments(harmonize_atlas=asked))
    (line,) = str(caught.value).splitlines()[1:]
    assert line.startswith("  harmonize_atlas asks for")
    for word in [*words, "profiles/slurm/config.yaml"]:
        assert word in line


def test_without_accounting_sacct_would_wait_for_ever(on_cluster):
    with pytest.raises(ConfigError, match="slurm-status-command: squeue"):
        check_slurm(arguments(status="sacct"))


@pytest.mark.skipif(shutil.which("sinfo") is None, reason="Slurm's commands are not installed")
def test_a_cluster_that_does_not_answer(monkeypatch, tmp_path):
    # Nobody listens there. Without any file the commands themselves would look for one for a minute.
    nobody = tmp_path / "slurm.conf"
    nobody.write_text(
        "ClusterName=none\nSlurmctldHost=localhost\nSlurmctldPort=1\nMessageTimeout=1\nAuthType=auth/none\n"
    )
    monkeypatch.setenv("SLURM_CONF", str(nobody))
    with pytest.raises(ConfigError, match=r"`sinfo .* failed: "):
        check_slurm(arguments())


def test_a_machine_without_slurm(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="login node"):
        check_slurm(arguments())
