"""Where HAYSTACK runs in Google Cloud: one place for project, bucket, images, accounts and network.

Every setting can be given in `config/gcp.yaml` and by an environment variable `HAYSTACK_GCP_` + its name in capitals;
the environment wins.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from haystack.config import Section, read_yaml, validate
from haystack.errors import ConfigError
from haystack.gcp.machines import MACHINES, GpuMachine

FILE = Path("config/gcp.yaml")
PREFIX = "HAYSTACK_GCP_"


class GcpSettings(Section):
    """Settings of Google Cloud. None of them changes a result."""

    project: str = Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")
    """id of the project that pays"""
    region: str = Field(default="us-central1", pattern=r"^[a-z]+-[a-z]+\d+$")
    """region of jobs, bucket and images; traffic between regions costs"""
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$")
    """bucket of the results, without gs://"""
    prefix: str = Field(default="", pattern=r"^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?$")
    """folder in the bucket under which `results/` lies; empty: the bucket itself"""
    atlas_buckets: list[str] = []
    """buckets with atlases as h5ad, mounted read-only into the coordinator; zarr needs no mount"""
    orchestrator_image: str = ""
    """image of the coordinator; needed to submit one"""
    inference_image: str = ""
    """image of the GPU machines; needed to submit a coordinator"""
    orchestrator_service_account: str | None = None
    """e-mail address of the account the coordinator runs as; null: the project's default compute account"""
    inference_service_account: str | None = None
    """e-mail address of the account the GPU jobs run as; null: the project's default compute account"""
    network: str | None = None
    """VPC network, as projects/PROJECT/global/networks/NAME; null: the project's default network"""
    subnetwork: str | None = None
    """subnetwork, as projects/PROJECT/regions/REGION/subnetworks/NAME"""
    external_ip: bool = True
    """false: no machine has an address of its own; the subnetwork then needs Private Google Access"""
    orchestrator_machine_type: str = "e2-standard-4"
    """machine of the coordinator: 4 vCPU, 16 GB"""
    orchestrator_boot_disk_gb: int = Field(default=50, ge=30)
    """boot disk of the coordinator in GB: image, and the files of its runs"""
    orchestrator_hours: float = Field(default=2.0, gt=0, le=168)
    """hours after which Batch stops a coordinator; one that ran out of time is submitted again and continues"""
    runs_per_coordinator: int = Field(default=20, ge=1, le=80)
    """runs of a table that share a coordinator; beyond 80 planning takes longer than the work"""
    report_audience: str | None = None
    """OAuth client id of the Identity-Aware Proxy in front of the run service, which coordinators report to"""

    gpu: Literal["l4", "a100", "a100-80", "h100"] = "l4"
    """GPU machine of inference (`haystack.gcp.machines`)"""
    spot: bool = True
    """GPU machines that Google may take away at any moment, at 40 % of the price; after the third time, on demand"""
    driver_version: str = "580.95.05"
    """NVIDIA driver that Batch installs. The image's torch is built for CUDA 13, which needs 580 or later"""
    image_streaming: bool = False
    """start the GPU image before it is whole; needs the API containerfilesystem.googleapis.com"""
    reservation: str | None = None
    """name of a reservation of Compute Engine from which GPU machines are taken; then set `spot: false`"""
    local_ssd_gb: int = Field(default=375, ge=0, multiple_of=375)
    """local SSD of a coordinator with a GPU, for its copies of model, atlases and results; 0: its boot disk"""

    batch_endpoint: str | None = None
    """another address of the Batch API, host:port; http://host:port is spoken to without TLS and login (tests)"""

    @property
    def gpu_machine(self) -> GpuMachine:
        """The machine that `gpu` stands for."""
        return MACHINES[self.gpu]

    @property
    def parent(self) -> str:
        """Where Batch keeps the jobs."""
        return f"projects/{self.project}/locations/{self.region}"

    @property
    def root(self) -> str:
        """URI of the folder under which `results/` lies, without a slash at its end."""
        return "/".join(part for part in (f"gs://{self.bucket}", self.prefix) if part)

    def environment(self) -> dict[str, str]:
        """The settings that were given, as environment variables, so that a coordinator has the same ones."""
        given = {name: getattr(self, name) for name in sorted(self.model_fields_set)}
        return {PREFIX + name.upper(): _text(value) for name, value in given.items() if value not in (None, [])}


def load_gcp_settings(path: Path | None = None, environment: Mapping[str, str] | None = None) -> GcpSettings:
    """Read the settings file, then lay the environment over it.

    Parameters
    ----------
    path : Path, optional
        settings file; `config/gcp.yaml` if it exists, otherwise.
    environment : mapping, optional
        instead of os.environ.

    Raises
    ------
    ConfigError
        for an unknown key or variable, a wrong value, or no project or bucket, naming where to set it.
    """
    given = os.environ if environment is None else environment
    where = path or FILE
    values: dict[str, Any] = read_yaml(where) if path or where.exists() else {}
    for name, text in given.items():
        if name.startswith(PREFIX) and text != "":
            values[name.removeprefix(PREFIX).lower()] = _value(name, text)
    for needed in ("project", "bucket"):
        if not values.get(needed):
            raise ConfigError(
                f"Google Cloud: no {needed} is set. Set it in {where} (`{needed}: ...`) or by the environment variable "
                f"{PREFIX}{needed.upper()}"
            )
    if str(values["bucket"]).startswith("gs://"):
        values["bucket"] = str(values["bucket"]).removeprefix("gs://").rstrip("/")
    return validate(GcpSettings, values, f"{where} and {PREFIX}*")


def _value(name: str, text: str) -> Any:
    """Lists are written with commas; everything else is left to the model."""
    return [part.strip() for part in text.split(",") if part.strip()] if name == f"{PREFIX}ATLAS_BUCKETS" else text


def _text(value: Any) -> str:
    """As it is written in the environment."""
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
