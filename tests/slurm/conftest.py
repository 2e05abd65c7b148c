"""A real cluster on this machine: munged, slurmctld and slurmd of Debian's packages, one node, one GPU in name only."""

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from ports import free_port

CONF = """\
ClusterName=test
SlurmctldHost=localhost
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller}
SlurmdPort={daemon}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
ReturnToService=2
MinJobAge={min_job_age}
GresTypes=gpu
SchedulerParameters=sched_interval=1
NodeName=localhost CPUs=2 RealMemory=6000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=60 State=UP
"""


@contextmanager
def started(folder: Path, min_job_age: int = 300):
    """The daemons, and a folder with commands that know them; ended, with their jobs, at the end of the block.

    In an allocation the executor drops every variable that begins with SLURM_, so the commands cannot learn of this
    cluster from the environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    conf = CONF.format(folder=folder, user="root", controller=free_port(), daemon=free_port(), min_job_age=min_job_age)
    (folder / "slurm.conf").write_text(conf)
    (folder / "gres.conf").write_text("Name=gpu File=/dev/zero\n")
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    names = {"socket": "munge.socket", "key-file": "munge.key", "log-file": "munge.log", "pid-file": "munge.pid"}
    munged = ["munged", "--force", "--foreground", f"--seed-file={folder}/munge.seed"]
    munged += [f"--{option}={folder / name}" for option, name in names.items()]
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    running = []
    try:
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "localhost"]):
            log = (folder / f"{command[0]}.out").open("w")
            running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            time.sleep(0.3)
        for _ in range(300):
            found = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True)
            if found.stdout.strip() == "idle":
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"Slurm did not start: {found.stdout}{found.stderr}{(folder / 'slurmctld.out').read_text()}")
        (folder / "bin").mkdir()
        for name in ("sinfo", "sbatch", "squeue", "scancel", "scontrol", "sacct", "srun"):
            command = folder / "bin" / name
            command.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which(name)} "$@"\n')
            command.chmod(0o755)
        yield folder / "bin"
    finally:
        subprocess.run(["scancel", "--user", "root"], env=environment, capture_output=True)
        for process in reversed(running):
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Folder with the commands of a cluster that keeps no accounting."""
    if os.geteuid() or not all(map(shutil.which, ("munged", "slurmctld", "slurmd"))):
        pytest.skip("needs root and Debian's packages slurm-wlm and munge")
    with started(tmp_path_factory.mktemp("slurm")) as commands:
        yield commands


@pytest.fixture
def on_cluster(cluster, monkeypatch):
    monkeypatch.setenv("PATH", f"{cluster}:{os.environ['PATH']}")
