"""A stand-in for Google Batch and the reading side of Cloud Logging: a gRPC server that speaks the real protocol.

It checks what Batch checks (job ids, labels, images, machines against what is asked of them), runs the submitted
runnables on this machine, keeps their output for the logging service, and makes one job of a repeated request. It can
be told to answer with any error, to lose an answer, to refuse, or to take a machine away (exit code 50001). Nothing
here is faked towards the client: requests and answers are the protos of google-cloud-batch.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.api import monitored_resource_pb2
from google.cloud import batch_v1
from google.cloud.batch_v1.services.batch_service.transports import BatchServiceGrpcTransport
from google.cloud.logging_v2.types import ListLogEntriesRequest, ListLogEntriesResponse, LogEntry
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.protobuf.timestamp_pb2 import Timestamp

State = batch_v1.JobStatus.State
REAL_CLIENT = batch_v1.BatchServiceClient
"""kept here for tests that put `BatchService.client` in its place"""
PREEMPTED = 50001
"""Batch's exit code of a task whose spot machine was taken away"""
JOB_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
MACHINES = {
    "e2-standard-4": (4, 16, None),
    "n2-highmem-16": (16, 128, None),
    "a2-highgpu-1g": (12, 85, "nvidia-tesla-a100"),
    "a2-ultragpu-1g": (12, 170, "nvidia-a100-80gb"),
    "g2-standard-8": (8, 32, "nvidia-l4"),
    "a3-highgpu-1g": (26, 234, "nvidia-h100-80gb"),
}
"""machine type -> vCPU, GB of memory, its accelerator"""
ACTIVE = (State.QUEUED, State.SCHEDULED, State.RUNNING)
WORKDIR = "/tmp/workdir"
SSD = "/mnt/disks/ssd"


@dataclass
class Attempt:
    """One try of a task on a machine of its own."""

    exit_code: int | None = None
    output: list[str] = field(default_factory=list)


@dataclass
class Record:
    """A job, and what happened to it."""

    job: batch_v1.Job
    attempts: list[Attempt] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    cancelled: bool = False
    thread: threading.Thread | None = None

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.job.labels)

    @property
    def state(self) -> str:
        return State(self.job.status.state).name

    @property
    def output(self) -> str:
        """What all attempts printed."""
        return "".join(line for attempt in self.attempts for line in attempt.output)


class RefusedError(Exception):
    """A request that is answered with a gRPC status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass
class Image:
    """What a container image of ours means on this machine: its environment, as the Dockerfile declares it."""

    environment: dict[str, str]
    folder: Path | None = None
    """stands for the image's WORKDIR: every container gets a copy"""


class BatchService:
    """The server. `jobs` keeps every job that was ever created, also deleted ones; tests read it."""

    def __init__(self, root: Path, images: dict[str, Image] | None = None, project: str = "test-project") -> None:
        self.root = root
        self.images = images if images is not None else {}
        self.project = project
        self.passed_on: dict[str, str] = {}
        """environment that machines of the real service would have by themselves (redirection to stand-ins)"""
        self.jobs: dict[str, Record] = {}
        self.deleted: list[str] = []
        self.calls: list[str] = []
        self.execute = True
        """false: jobs stay QUEUED until `finish` is called"""
        self._lock = threading.RLock()
        self._faults: dict[str, list[grpc.StatusCode]] = {}
        self._lost: dict[str, int] = {}
        self._requests: dict[str, str] = {}
        """request id of CreateJob -> name of the job that it made"""
        self._refusals: list[tuple[grpc.StatusCode, str]] = []
        self._preempt: list[tuple[Callable[[batch_v1.Job], bool], int]] = []
        self.holds: list[Callable[[batch_v1.Job], bool]] = []
        """jobs that any of these accepts stay RUNNING, without doing anything, until it is taken away"""
        self._environments: list[tuple[Callable[[batch_v1.Job], bool], dict[str, str]]] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
        self._server.add_generic_rpc_handlers(self._handlers())
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    # -- for tests ---------------------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @contextmanager
    def serving(self) -> Iterator[BatchService]:
        """Answer requests until the block ends; then every process of every job ends."""
        self._server.start()
        try:
            yield self
        finally:
            for record in list(self.jobs.values()):
                self._kill(record)
            self._server.stop(None).wait()
            for record in list(self.jobs.values()):
                if record.thread:
                    record.thread.join(30)

    def client(self) -> batch_v1.BatchServiceClient:
        """The real client, connected to this server."""
        return REAL_CLIENT(transport=BatchServiceGrpcTransport(channel=grpc.insecure_channel(self.address)))

    def answer_503(self, method: str, times: int = 1) -> None:
        """The next `times` calls of a method (`CreateJob`, `GetJob`, ...) find the service unavailable."""
        self.answer(method, grpc.StatusCode.UNAVAILABLE, times)

    def answer(self, method: str, code: grpc.StatusCode, times: int = 1) -> None:
        """The next `times` calls of a method meet this error, and do nothing."""
        self._faults.setdefault(method, []).extend([code] * times)

    def lose_answer(self, method: str, times: int = 1) -> None:
        """The next `times` calls of a method do their work, and their answer is lost on the way."""
        self._lost[method] = self._lost.get(method, 0) + times

    def refuse_next_job(self, code: grpc.StatusCode, message: str) -> None:
        """The next CreateJob is refused (quota, permission, ...)."""
        self._refusals.append((code, message))

    def preempt(self, which: Callable[[batch_v1.Job], bool], times: int = 1) -> None:
        """Take the machine away from the first `times` attempts of every job that `which` accepts."""
        self._preempt.append((which, times))

    def give_environment(self, which: Callable[[batch_v1.Job], bool], environment: dict[str, str]) -> None:
        """Machines of the jobs that `which` accepts have these variables too."""
        self._environments.append((which, environment))

    def forget_environments(self) -> None:
        """Take back what `give_environment` gave."""
        self._environments.clear()

    def finish(self, name: str, state: str = "SUCCEEDED", event: str = "") -> None:
        """End a job that is not executed (`execute = False`)."""
        with self._lock:
            self._set(self.jobs[name], State[state], event)

    def labelled(self, **labels: str) -> list[Record]:
        """Jobs with all these labels (`_` of a keyword stands for `-`), in the order of their creation."""
        wanted = {key.replace("_", "-"): value for key, value in labels.items()}
        return [record for record in self.jobs.values() if wanted.items() <= record.labels.items()]

    # -- the protocol ------------------------------------------------------------------------------------------------

    def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        batch = {
            "CreateJob": (self._create, batch_v1.CreateJobRequest, batch_v1.Job.serialize),
            "GetJob": (self._get, batch_v1.GetJobRequest, batch_v1.Job.serialize),
            "ListJobs": (self._list, batch_v1.ListJobsRequest, batch_v1.ListJobsResponse.serialize),
            "DeleteJob": (self._delete, batch_v1.DeleteJobRequest, operations_pb2.Operation.SerializeToString),
            "CancelJob": (self._cancel, batch_v1.CancelJobRequest, operations_pb2.Operation.SerializeToString),
        }
        logging = {"ListLogEntries": (self._entries, ListLogEntriesRequest, ListLogEntriesResponse.serialize)}

        def methods(table: dict[str, tuple[Any, Any, Any]]) -> dict[str, grpc.RpcMethodHandler]:
            return {
                name: grpc.unary_unary_rpc_method_handler(
                    self._answering(name, function),
                    request_deserializer=request.deserialize,
                    response_serializer=serialize,
                )
                for name, (function, request, serialize) in table.items()
            }

        return (
            grpc.method_handlers_generic_handler("google.cloud.batch.v1.BatchService", methods(batch)),
            grpc.method_handlers_generic_handler("google.logging.v2.LoggingServiceV2", methods(logging)),
        )

    def _answering(self, name: str, function: Callable[[Any], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            with self._lock:
                self.calls.append(name)
                faults = self._faults.get(name)
                fault = faults.pop(0) if faults else None
                lost = self._lost.get(name, 0) if fault is None else 0
                self._lost[name] = max(0, lost - 1)
            if fault:
                context.abort(fault, f"{fault.name}: this passes.")
            try:
                answered = function(request)
            except RefusedError as error:
                context.abort(error.code, error.message)
            if lost:
                context.abort(grpc.StatusCode.UNAVAILABLE, "Connection reset by peer.")
            return answered

        return answer

    def _create(self, request: batch_v1.CreateJobRequest) -> batch_v1.Job:
        with self._lock:
            if self._refusals:
                raise RefusedError(*self._refusals.pop(0))
            self._check_parent(request.parent)
            if not JOB_ID.fullmatch(request.job_id):
                _invalid(f"Invalid job id: {request.job_id!r} must match [a-z]([a-z0-9-]{{0,61}}[a-z0-9])?")
            name = f"{request.parent}/jobs/{request.job_id}"
            if request.request_id in self._requests:
                return self._existing(self._requests[request.request_id]).job
            if name in self.jobs and name not in self.deleted:
                raise RefusedError(grpc.StatusCode.ALREADY_EXISTS, f"Resource '{name}' already exists")
            _check(request.job)
            job = batch_v1.Job.deserialize(batch_v1.Job.serialize(request.job))
            job.name, job.uid = name, f"{request.job_id}-{uuid.uuid4().hex[:12]}"
            job.create_time = _now()
            if name in self.deleted:
                self.deleted.remove(name)
            record = self.jobs[name] = Record(job)
            if request.request_id:
                self._requests[request.request_id] = name
            self._set(record, State.QUEUED)
            if self.execute:
                record.thread = threading.Thread(target=self._run, args=(record,), daemon=True)
                record.thread.start()
            return job

    def _get(self, request: batch_v1.GetJobRequest) -> batch_v1.Job:
        with self._lock:
            return self._existing(request.name).job

    def _list(self, request: batch_v1.ListJobsRequest) -> batch_v1.ListJobsResponse:
        self._check_parent(request.parent)
        with self._lock:
            accept = _filter(request.filter)
            found = [r.job for n, r in self.jobs.items() if n not in self.deleted and accept(r)]
            start = int(request.page_token or 0)
            size = request.page_size or 100
            more = start + size < len(found)
            return batch_v1.ListJobsResponse(
                jobs=found[start : start + size], next_page_token=str(start + size) if more else ""
            )

    def _delete(self, request: batch_v1.DeleteJobRequest) -> operations_pb2.Operation:
        with self._lock:
            record = self._existing(request.name)
            self._set(record, State.DELETION_IN_PROGRESS)
            self._kill(record)
            self.deleted.append(request.name)
        return _done(empty_pb2.Empty())

    def _cancel(self, request: batch_v1.CancelJobRequest) -> operations_pb2.Operation:
        with self._lock:
            record = self._existing(request.name)
            if record.job.status.state not in ACTIVE:
                raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION, f"Job {request.name} has ended: {record.state}")
            self._kill(record)
            self._set(record, State.CANCELLED)
        return _done(empty_pb2.Empty())

    def _entries(self, request: ListLogEntriesRequest) -> ListLogEntriesResponse:
        found = re.search(r"labels\.job_uid=\"?([\w-]+)", request.filter)
        records = [r for r in self.jobs.values() if found and r.job.uid == found.group(1)]
        resource = monitored_resource_pb2.MonitoredResource(type="batch.googleapis.com/Job")
        return ListLogEntriesResponse(
            entries=[
                LogEntry(
                    log_name=f"projects/{self.project}/logs/batch_task_logs",
                    text_payload=line.rstrip("\n"),
                    resource=resource,
                )
                for record in records
                for attempt in record.attempts
                for line in attempt.output
            ]
        )

    def _existing(self, name: str) -> Record:
        self._check_parent(name)
        if name not in self.jobs or name in self.deleted:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, f"Resource '{name}' was not found")
        return self.jobs[name]

    def _check_parent(self, name: str) -> None:
        project = name.split("/")[1]
        if project != self.project:
            raise RefusedError(
                grpc.StatusCode.PERMISSION_DENIED,
                f"Permission denied on resource project {project} (or it may not exist).",
            )

    # -- running -----------------------------------------------------------------------------------------------------

    def _set(self, record: Record, state: State, event: str = "", exit_code: int | None = None) -> None:
        status = record.job.status
        status.state = state
        description = event or f"Job state is set to {state.name} for job {record.job.name}"
        execution = None if exit_code is None else batch_v1.TaskExecution(exit_code=exit_code)
        status.status_events.append(
            batch_v1.StatusEvent(
                type_="STATUS_CHANGED", description=description, event_time=_now(), task_execution=execution
            )
        )
        record.job.update_time = _now()

    def _run(self, record: Record) -> None:
        task = record.job.task_groups[0].task_spec
        preemptions = sum(times for which, times in self._preempt if which(record.job))
        with self._lock:
            if not record.cancelled:
                self._set(record, State.RUNNING)
        code = 1
        for number in range(task.max_retry_count + 1):
            if record.cancelled:
                return
            attempt = Attempt()
            record.attempts.append(attempt)
            code = self._attempt(record, attempt, number, preempted=number < preemptions)
            attempt.exit_code = code
            if code == 0 or record.cancelled:
                break
            again = _tried_again(task, code)
            why = " due to Spot VM preemption" if code == PREEMPTED else ""
            with self._lock:
                self._set(record, record.job.status.state, f"Task failed{why} with exit code {code}", code)
            if not again:
                break
        with self._lock:
            if not record.cancelled:
                self._set(record, State.SUCCEEDED if code == 0 else State.FAILED)

    def _attempt(self, record: Record, attempt: Attempt, number: int, preempted: bool) -> int:
        """Run all runnables on a fresh machine (a fresh folder); the exit code of the first that fails."""
        machine = self.root / record.job.uid / str(number)
        (machine / "home").mkdir(parents=True)
        limit = record.job.task_groups[0].task_spec.max_run_duration
        deadline = time.monotonic() + (limit.total_seconds() if limit else 0) if limit else None
        for runnable in record.job.task_groups[0].task_spec.runnables:
            if "barrier" in runnable:
                continue
            if "container" in runnable and preempted:
                attempt.output.append("the machine is taken away\n")
                return PREEMPTED
            while "container" in runnable and not record.cancelled and any(hold(record.job) for hold in self.holds):
                time.sleep(0.02)
            code = self._runnable(record, attempt, runnable, machine, deadline)
            if code and not runnable.ignore_exit_status:
                return code
        shutil.rmtree(machine, ignore_errors=True)
        return 0

    def _runnable(
        self, record: Record, attempt: Attempt, runnable: batch_v1.Runnable, machine: Path, deadline: float | None
    ) -> int:
        workdir = machine / "workdir"

        def here(text: str) -> str:
            return text.replace(WORKDIR, str(workdir)).replace(SSD, str(machine / "ssd"))

        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(machine / "home"),
            "BATCH_TASK_INDEX": "0",
            "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        }
        if "container" in runnable:
            container = runnable.container
            image = self.images.get(container.image_uri)
            if image is None:
                attempt.output.append(f"docker: {container.image_uri}: manifest unknown\n")
                return 125
            environment.update(image.environment)
            environment.update(self.passed_on)
            command = [container.entrypoint, *map(here, container.commands)]
            cwd = workdir if f"--workdir {WORKDIR}" in container.options else machine / "folder"
            if image.folder:
                shutil.copytree(image.folder, cwd)
            cwd.mkdir(exist_ok=True)
        else:
            script = machine / "script.sh"
            script.write_text(here(runnable.script.text))
            command, cwd = ["/bin/bash", str(script)], machine
        group_environment = record.job.task_groups[0].task_spec.environment.variables
        variables = {**group_environment, **runnable.environment.variables}
        environment.update({name: here(value) for name, value in variables.items()})
        for which, extra in self._environments:
            if which(record.job):
                environment.update(extra)
        with self._lock:
            if record.cancelled:
                return 1
            record.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        timer = (
            threading.Timer(max(0.0, deadline - time.monotonic()), self._stop, (record.process,)) if deadline else None
        )
        if timer:
            timer.start()
        attempt.output.extend(record.process.stdout or [])
        code = record.process.wait()
        if timer:
            timer.cancel()
            if code < 0 and time.monotonic() >= (deadline or 0):
                return 50005  # Batch: the task ran past its limit
        return code

    def _kill(self, record: Record) -> None:
        record.cancelled = True
        if record.process and record.process.poll() is None:
            self._stop(record.process)

    @staticmethod
    def _stop(process: subprocess.Popen[str]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _tried_again(task: batch_v1.TaskSpec, code: int) -> bool:
    """With RETRY_TASK only what matches is tried again, with FAIL_TASK what does not; by default everything."""
    for policy in task.lifecycle_policies:
        matches = code in policy.action_condition.exit_codes
        return matches is (policy.action == batch_v1.LifecyclePolicy.Action.RETRY_TASK)
    return True


def _invalid(message: str) -> None:
    raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _check(job: batch_v1.Job) -> None:
    """What Batch refuses at once."""
    for key, value in job.labels.items():
        if not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(value):
            _invalid(f"Invalid label {key!r}: {value!r}")
    if not job.task_groups or not job.task_groups[0].task_spec.runnables:
        _invalid("Job has no runnable")
    for instance in job.allocation_policy.instances:
        policy = instance.policy
        if "boot_disk" in policy and not policy.boot_disk.image:
            _invalid("Invalid boot disk: image is empty")
        if policy.machine_type not in MACHINES:
            _invalid(f"Machine type {policy.machine_type!r} does not exist in zone")
        cpus, memory, accelerator = MACHINES[policy.machine_type]
        resource = job.task_groups[0].task_spec.compute_resource
        if resource.cpu_milli > cpus * 1000 or resource.memory_mib > memory * 1024:
            _invalid(
                f"Compute resource {resource.cpu_milli}m CPU, {resource.memory_mib} MiB exceeds {policy.machine_type}"
            )
        asked = [(item.type_, item.count) for item in policy.accelerators]
        if asked and asked != [(accelerator, 1)]:
            _invalid(f"Accelerator {asked} does not fit machine type {policy.machine_type}")
        if asked and not instance.install_gpu_drivers:
            _invalid("GPU drivers are not asked for")
        disks = {disk.device_name: disk.new_disk for disk in policy.disks}
        for disk in disks.values():
            if disk.type_ == "local-ssd" and disk.size_gb % 375:
                _invalid(f"Local SSD of {disk.size_gb} GB: only multiples of 375")
        for volume in job.task_groups[0].task_spec.volumes:
            if volume.device_name and volume.device_name not in disks:
                _invalid(f"Volume of an unknown device {volume.device_name!r}")
        if policy.reservation and policy.provisioning_model == batch_v1.AllocationPolicy.ProvisioningModel.SPOT:
            _invalid("A reservation holds no spot machines")


def _filter(text: str) -> Callable[[Record], bool]:
    """Batch's list filter: comparisons of labels and state, joined by AND and OR, with brackets."""
    tokens = re.findall(r'\(|\)|\bAND\b|\bOR\b|[\w.-]+\s*(?::|!=|=)\s*(?:"[^"]*"|[\w-]+)', text)
    if "".join("".join(tokens).split()) != "".join(text.split()):
        _invalid(f"Invalid filter: {text!r}")

    def alternative(record: Record, rest: list[str]) -> bool:
        value = conjunction(record, rest)
        while rest and rest[0] == "OR":
            rest.pop(0)
            value = conjunction(record, rest) or value
        return value

    def conjunction(record: Record, rest: list[str]) -> bool:
        value = term(record, rest)
        while rest and rest[0] == "AND":
            rest.pop(0)
            value = term(record, rest) and value
        return value

    def term(record: Record, rest: list[str]) -> bool:
        token = rest.pop(0)
        if token == "(":
            value = alternative(record, rest)
            rest.pop(0)
            return value
        field_name, operator, wanted = re.fullmatch(r'([\w.-]+)\s*(:|!=|=)\s*"?([^"]*)"?', token).groups()
        if field_name.startswith("labels."):
            actual = record.labels.get(field_name.removeprefix("labels."), "")
        elif field_name in {"status.state", "state"}:
            actual = record.state
        elif field_name == "name":
            actual = record.job.name
        else:
            _invalid(f"Invalid filter: unknown field {field_name!r}")
        return (actual == wanted) is (operator != "!=")

    return lambda record: not tokens or alternative(record, list(tokens))


def _now() -> Any:
    stamp = Timestamp()
    stamp.GetCurrentTime()
    return stamp


def _done(response: Any) -> operations_pb2.Operation:
    operation = operations_pb2.Operation(name="operations/done", done=True)
    operation.response.Pack(response)
    return operation
