"""The description of a coordinator job, and what Batch's words about a job mean."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from haystack.errors import ConfigError
from haystack.gcp.names import COMPONENT_LABEL, ORCHESTRATOR, RUN_LABEL, label_value
from haystack.gcp.request import CoordinatorRequest, request_uri
from haystack.gcp.settings import PREFIX, GcpSettings

if TYPE_CHECKING:
    from google.cloud import batch_v1

CPU_MILLI = 4_000
MEMORY_MIB = 16_384
MOUNTS = "/mnt/disks/gcs"
"""where buckets are mounted on the coordinator, by name; Batch allows only folders of /mnt/disks"""
SSD, SSD_NAME = "/mnt/disks/ssd", "ssd"
"""where the local SSD of a coordinator with a GPU is mounted; the name of the device"""
GPU_IMAGE_GB = 100
"""boot disk for CUDA, torch and our package (15 GB), with room for cells"""
PREEMPTED = 50001
SPOT_RETRIES = 3
"""times that Batch starts anew what lost its spot machine; then it goes on demand"""
OUT_OF_TIME = 75
"""exit code of a coordinator that stopped by itself before Batch would have (EX_TEMPFAIL)"""
MAX_RUNTIME = 50005
CODE = re.compile(r"\bexit code (\d+)", re.IGNORECASE)
"""how a status event names an exit code; job and machine names are full of numbers too"""
EVENTS = {
    "50001": "The spot machine was taken away; it is tried again three times, then on demand",
    "50002": "The machine stopped reporting: often out of memory, or no way to batch.googleapis.com from its network",
    "50003": "The machine was restarted while the task ran",
    "50004": "The task did not answer any more",
    "50005": "It ran longer than it may",
    "50006": "The machine was made anew while the task ran",
    "quota": "A quota is used up: docs/gcp.md, 'Quota', says which and how to ask for more",
    "zone_resource_pool_exhausted": "No such machine is free just now: wait, or take another region or GPU",
    "no vm": "No machine came up in time: see docs/gcp.md, 'When something is wrong'",
    "docker pull": "The image could not be pulled: see docs/gcp.md, 'Images'",
}
"""what a status event holds (its exit code, or words in lower case) -> what it means"""


def coordinator_job(settings: GcpSettings, request: CoordinatorRequest) -> batch_v1.Job:
    """The Batch job of a coordinator: one container, a time limit, Cloud Logging.

    One that submits GPU jobs is small and never on a spot machine. One that has the GPU itself goes on from the bucket
    where its machine was taken away.

    Raises
    ------
    ConfigError
        when no images are set.
    """
    from google.cloud import batch_v1

    for name in ("orchestrator_image", "inference_image"):
        if not getattr(settings, name):
            raise ConfigError(
                f"Google Cloud: no {name} is set. Build and push the images (docs/gcp.md, 'Images'), then set it in "
                f"config/gcp.yaml or by {PREFIX}{name.upper()}"
            )
    gpu = settings.gpu_machine if request.machine == "gpu" else None
    task = batch_v1.TaskSpec(
        runnables=[_runnable(settings, request)],
        compute_resource=batch_v1.ComputeResource(
            cpu_milli=gpu.cpu_milli if gpu else CPU_MILLI, memory_mib=gpu.memory_mib if gpu else MEMORY_MIB
        ),
        max_run_duration=dt.timedelta(hours=settings.orchestrator_hours),
        volumes=[
            batch_v1.Volume(
                gcs=batch_v1.GCS(remote_path=bucket),
                mount_path=f"{MOUNTS}/{bucket}",
                mount_options=["--implicit-dirs", "-o ro"],
            )
            for bucket in settings.atlas_buckets
        ],
    )
    if gpu:
        retry_only_preempted(task)
        if settings.local_ssd_gb:
            task.volumes.append(batch_v1.Volume(device_name=SSD_NAME, mount_path=SSD, mount_options=["rw,async"]))
    labels = {**request.labels, RUN_LABEL: label_value(request.coordinator), COMPONENT_LABEL: ORCHESTRATOR}
    allocation = batch_v1.AllocationPolicy(
        location=batch_v1.AllocationPolicy.LocationPolicy(allowed_locations=[f"regions/{settings.region}"]),
        instances=[batch_v1.AllocationPolicy.InstancePolicyOrTemplate(policy=_machine(settings, request))],
        labels=labels,
    )
    account = settings.inference_service_account if gpu else settings.orchestrator_service_account
    if account:
        allocation.service_account = batch_v1.ServiceAccount(email=account)
    set_network(settings, allocation)
    job = batch_v1.Job(
        task_groups=[batch_v1.TaskGroup(task_count=1, task_spec=task)],
        allocation_policy=allocation,
        labels=labels,
        logs_policy=batch_v1.LogsPolicy(destination=batch_v1.LogsPolicy.Destination.CLOUD_LOGGING),
    )
    if gpu:
        use_gpu(settings, job, spot=settings.spot and not request.on_demand)
    return job


def retry_only_preempted(task: batch_v1.TaskSpec) -> None:
    """Try again what lost its spot machine, and nothing else: an error of the work would only come again."""
    from google.cloud import batch_v1

    task.max_retry_count = SPOT_RETRIES
    task.lifecycle_policies = [
        batch_v1.LifecyclePolicy(
            action=batch_v1.LifecyclePolicy.Action.RETRY_TASK,
            action_condition=batch_v1.LifecyclePolicy.ActionCondition(exit_codes=[PREEMPTED]),
        )
    ]


def use_gpu(settings: GcpSettings, job: batch_v1.Job, spot: bool) -> None:
    """What holds for every job on a GPU machine: driver, spot or not, reservation, image streaming."""
    from google.cloud import batch_v1

    model = batch_v1.AllocationPolicy.ProvisioningModel
    provisioning: Any = model.SPOT if spot else model.STANDARD
    for instance in job.allocation_policy.instances:
        instance.install_gpu_drivers = True
        for accelerator in instance.policy.accelerators:
            accelerator.driver_version = settings.driver_version
        instance.policy.provisioning_model = provisioning
        if settings.reservation:
            instance.policy.reservation = settings.reservation
    for group in job.task_groups:
        for runnable in group.task_spec.runnables:
            if "container" in runnable:
                runnable.container.enable_image_streaming = settings.image_streaming


def set_network(settings: GcpSettings, allocation: batch_v1.AllocationPolicy) -> None:
    """The network of the settings, with or without an address of the machine's own."""
    from google.cloud import batch_v1

    if settings.network or settings.subnetwork or not settings.external_ip:
        allocation.network = batch_v1.AllocationPolicy.NetworkPolicy(
            network_interfaces=[
                batch_v1.AllocationPolicy.NetworkInterface(
                    network=settings.network or "",
                    subnetwork=settings.subnetwork or "",
                    no_external_ip_address=not settings.external_ip,
                )
            ]
        )


def _runnable(settings: GcpSettings, request: CoordinatorRequest) -> batch_v1.Runnable:
    from google.cloud import batch_v1

    # shared jobs of the coordinator (the index) are labelled with its id
    variables = {**settings.environment(), "HAYSTACK_RUN_ID": request.coordinator}
    if settings.atlas_buckets:
        variables["HAYSTACK_BUCKETS"] = MOUNTS
    gpu = request.machine == "gpu"
    if gpu and settings.local_ssd_gb:
        variables["HAYSTACK_SCRATCH"] = SSD
    return batch_v1.Runnable(
        container=batch_v1.Runnable.Container(
            image_uri=settings.inference_image if gpu else settings.orchestrator_image,
            entrypoint="haystack",
            commands=["gcp", "coordinate", request_uri(settings, request.coordinator)],
            options="--workdir /haystack",
        ),
        environment=batch_v1.Environment(variables=variables),
        display_name=f"coordinator {request.coordinator}",
    )


def _machine(settings: GcpSettings, request: CoordinatorRequest) -> batch_v1.AllocationPolicy.InstancePolicy:
    from google.cloud import batch_v1

    gpu = settings.gpu_machine if request.machine == "gpu" else None
    policy = batch_v1.AllocationPolicy.InstancePolicy(
        machine_type=gpu.machine_type if gpu else settings.orchestrator_machine_type,
        # never preemptible: the jobs that it watches would stop with it
        provisioning_model=batch_v1.AllocationPolicy.ProvisioningModel.STANDARD,
        # the image must be named with a size of its own, or Batch is left without one
        boot_disk=batch_v1.AllocationPolicy.Disk(
            image="batch-cos",
            size_gb=max(settings.orchestrator_boot_disk_gb, GPU_IMAGE_GB if gpu else 0),
            type_="pd-balanced",
        ),
    )
    if gpu:
        policy.accelerators = [batch_v1.AllocationPolicy.Accelerator(type_=gpu.accelerator, count=1)]
        if settings.local_ssd_gb:
            ssd = batch_v1.AllocationPolicy.Disk(type_="local-ssd", size_gb=settings.local_ssd_gb)
            policy.disks = [batch_v1.AllocationPolicy.AttachedDisk(new_disk=ssd, device_name=SSD_NAME)]
    return policy


def exit_codes(job: batch_v1.Job) -> list[int]:
    """Exit codes of the task's executions, in order."""
    return [int(event.task_execution.exit_code) for event in job.status.status_events if event.task_execution.exit_code]


def ran_out_of_time(job: batch_v1.Job) -> bool:
    """True when a failed job failed for its time limit or its spot machine: submitted again, it goes on."""
    return _ended_by(job, OUT_OF_TIME, MAX_RUNTIME, PREEMPTED)


def lost_its_machine(job: batch_v1.Job) -> bool:
    """True when a job ended because its spot machine was taken away too often."""
    return _ended_by(job, PREEMPTED)


def _ended_by(job: batch_v1.Job, *codes: int) -> bool:
    named = exit_codes(job) or [
        int(code) for event in job.status.status_events for code in CODE.findall(event.description)
    ]
    return bool(named) and named[-1] in codes


def _says(line: str, word: str) -> bool:
    return word in CODE.findall(line) if word.isdigit() else word in line.lower()


def message_of(job: batch_v1.Job) -> str:
    """The last event in Batch's words, and what it means where that is known."""
    events = sorted(job.status.status_events, key=lambda event: _seconds(event.event_time))
    if not events:
        return ""
    said = [" ".join(event.description.split()) for event in events if event.description]
    text = said[-1] if said else ""
    meanings = [meaning for word, meaning in EVENTS.items() if any(_says(line, word) for line in said[-3:])]
    return ". ".join([text.rstrip("."), *meanings[:1]]) if text else "".join(meanings[:1])


def began(job: batch_v1.Job) -> dt.datetime | None:
    """When the job began to run: from its events."""
    for event in job.status.status_events:
        if "to RUNNING" in event.description:
            return plain_time(event.event_time)
    return None


def plain_time(value: Any) -> dt.datetime | None:
    """A protobuf time as a plain datetime in UTC; None when unset."""
    if value is None or _seconds(value) <= 0:
        return None
    return dt.datetime.fromtimestamp(_seconds(value), tz=dt.UTC)


def _seconds(value: Any) -> float:
    return float(value.timestamp()) if value is not None else 0.0
