"""Checks of a Slurm cluster before the first job is submitted."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from haystack.errors import ConfigError, MissingExtraError

PROFILE = "profiles/slurm/config.yaml"
LOOK = 40
"""seconds between two polls of the executor"""


@dataclass(frozen=True)
class Nodes:
    """Identical nodes of a partition, as reported by `sinfo`."""

    partition: str
    memory_mb: int
    cpus: int
    gpus: Mapping[str, int]
    """type of GPU (empty if Slurm names none) -> number per node"""
    minutes: float
    """longest job"""
    default: bool = False


def check_slurm(arguments: Any) -> None:
    """Compare the profile's resources with the cluster; read-only, nothing is submitted.

    Parameters
    ----------
    arguments : argparse.Namespace
        Snakemake's arguments with `--executor slurm`.

    Raises
    ------
    ConfigError
        with one line per fault: no Slurm, no way to learn that a job ended, an unknown partition, or one without a node
        with the memory, GPU or time that a rule requests.
    """
    if shutil.which("sinfo") is None:
        raise ConfigError("no Slurm on this machine (sinfo was not found): start on a login node of the cluster")
    if not hasattr(arguments, "slurm_status_command"):
        raise MissingExtraError("slurm", "Slurm")
    nodes = list(read_nodes(_ask("sinfo", "--noheader", "--exact", "--format=%P|%m|%c|%G|%l")))
    faults = [*_states(arguments.slurm_status_command), *_resources(arguments, nodes)]
    if faults:
        raise ConfigError("this cluster cannot meet what the profile requests:\n  " + "\n  ".join(faults))


def read_nodes(text: str) -> Iterator[Nodes]:
    """The lines of `sinfo --format=%P|%m|%c|%G|%l`."""
    for line in text.splitlines():
        partition, memory, cpus, gres, limit = line.strip().split("|")
        gpus: dict[str, int] = {}
        for kind, count in re.findall(r"gpu(?::([A-Za-z][\w.-]*))?:(\d+)", gres):
            gpus[kind] = gpus.get(kind, 0) + int(count)
        yield Nodes(
            partition.rstrip("*"),
            int(re.sub(r"\D", "", memory)),
            int(re.sub(r"\D", "", cpus)),
            gpus,
            _minutes(limit),
            partition.endswith("*"),
        )


def _minutes(limit: str) -> float:
    """Slurm's [days-]hours:minutes:seconds, or a word (infinite, n/a)."""
    days, _, clock = limit.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in parts):
        return float("inf")
    seconds = sum(int(part) * 60**place for place, part in enumerate(reversed(parts)))
    return int(days or 0) * 1440 + seconds / 60


def _states(command: str | None) -> Iterator[str]:
    """How the executor learns that a job ended."""
    settings = dict(re.findall(r"^(\w+)\s*=\s*(\S+)", _ask("scontrol", "show", "config"), re.MULTILINE))
    if command == "sacct" and settings.get("AccountingStorageType", "").endswith("none"):
        yield (
            "it keeps no accounting, so `sacct` never tells that a job has ended, and Snakemake would wait for ever. "
            f"Say `slurm-status-command: squeue` in {PROFILE}"
        )
    age = int(settings.get("MinJobAge", 300))
    if command == "squeue" and age < 3 * LOOK:
        yield (
            f"it forgets ended jobs after {age} s (MinJobAge), and Snakemake looks every {LOOK} s: an end would be "
            f"missed. Say `slurm-status-command: sacct` in {PROFILE}, or let MinJobAge be {3 * LOOK} s or more"
        )


def _resources(arguments: Any, nodes: list[Nodes]) -> Iterator[str]:
    """Faults of the resources set for rules by the profile and the command line."""
    default = _plain(dict(arguments.default_resources.items()) if arguments.default_resources else {})
    given = {rule: {**default, **_plain(found)} for rule, found in (arguments.set_resources or {}).items()}
    for rule, asked in {"every other rule": default, **given}.items():
        name = asked.get("slurm_partition") or next((node.partition for node in nodes if node.default), None)
        here = [node for node in nodes if node.partition == name]
        if not here:
            known = ", ".join(sorted({node.partition for node in nodes}))
            yield f"{rule} asks for the partition '{name}'; there is {known}. Say `slurm_partition` in {PROFILE}"
            continue
        where = f"{rule} asks for {{}}; a node of the partition '{name}' has {{}}. Correct `{{}}` in {PROFILE}"
        memory, most = asked.get("mem_mb"), max(node.memory_mb for node in here)
        if isinstance(memory, int) and memory > most:
            yield where.format(f"{memory:,} MB of memory", f"{most:,} MB at most", "mem_mb")
        wanted = re.search(r"gpu(?::([A-Za-z][\w.-]*))?(?::(\d+))?$", str(asked.get("gres") or ""))
        if wanted:
            kind, count = wanted[1], int(wanted[2] or 1)
            if not any(_has(node, kind, count) for node in here):
                found = sorted({f"gpu:{kind}:{n}".replace("::", ":") for node in here for kind, n in node.gpus.items()})
                yield where.format(wanted[0], ", ".join(found) or "no GPU", "gres")
        limit = max(node.minutes for node in here)
        if isinstance(asked.get("runtime"), int) and asked["runtime"] > limit:
            yield where.format(f"{asked['runtime']} minutes", f"a limit of {limit:.0f}", "runtime")


def _has(node: Nodes, kind: str | None, count: int) -> bool:
    return (node.gpus.get(kind, 0) if kind else sum(node.gpus.values())) >= count


def _plain(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the first attempt, for inputs of no size; what depends on anything else is left out."""
    found: dict[str, Any] = {}
    for name, value in resources.items():
        raw = getattr(value, "raw", value)
        product = re.fullmatch(r"attempt \* (?:(\d+)|(?:min)?\((\d+) \+ .*\))", str(raw))
        if product:
            found[name] = int(product[1] or product[2])
        elif isinstance(raw, int | float | str):
            found[name] = raw
    return found


def _ask(*command: str) -> str:
    """Output of a Slurm command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        raise ConfigError(f"`{' '.join(command)}` did not answer within a minute: is slurmctld running?") from None
    if done.returncode:
        raise ConfigError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
