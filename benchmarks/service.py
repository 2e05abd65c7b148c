# ruff: noqa: D102
"""Time 200 clients that poll the status of their runs while 40 others have questions read, on SQLite and PostgreSQL.

    python benchmarks/service.py [--clients 200] [--previewers 40] [--rounds 30] [--seconds 10] [--cores 2]

The service is `haystack serve` in a process of its own, with sign-in: every client has a token of its own, signed by
a stand-in for Google's proxy, and polls a run of its own over one connection that stays open. A writer changes runs all
the while. Three cases, after each connection has loaded the page: the first round (tokens never seen before), bursts
(all clients in the same instant, again and again), and steady (each asks again 0 to 0.2 s after its answer; the page
waits 15 s).
Latency is from the request's last byte out to the answer's last byte in. Exit code 1 when a p99 is 250 ms or more, or
anything but 200 was answered. All processes, this client included, share the given number of cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib.util
import itertools
import json
import multiprocessing
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import psutil
import uvloop

REPOSITORY = Path(__file__).resolve().parents[1]


class Case(NamedTuple):
    """What was measured of one case."""

    latencies: list[float]
    """in s"""
    errors: int
    elapsed: float
    """in s"""
    cpu: float = 0.0
    """seconds of the service's process"""


LENGTH = re.compile(rb"(?i)content-length: (\d+)")
LIMIT, HEALTH_LIMIT = 0.250, 0.100
QUERY = "How would NK cells respond to ibrutinib?"
LONG_QUERY = ("How would lung fibroblasts of donors with fibrosis respond to nintedanib, TGF-beta and others " * 20)[
    :1900
]


def main() -> int:
    gc.disable()  # a pause of this client is no latency of the service
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--previewers", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=30, help="bursts")
    parser.add_argument("--seconds", type=float, default=10, help="of the steady case")
    parser.add_argument("--cores", type=int, default=2, help="cores for everything together")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    names = ("sqlite", "postgresql") if args.database == "both" else (args.database,)
    print(f"{args.clients} clients, {len(os.sched_getaffinity(0))} cores, load before: {os.getloadavg()[0]:.1f}\n")
    print(
        "| service | case | requests | per second | CPU µs per request | p50 ms | p95 ms | p99 ms | max ms | errors |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    good = True
    with bare() as (port, process):
        poll_bare = [_get(port, "/run")] * args.clients
        cases = uvloop.run(poll(process, port, poll_bare, ["run"] * args.clients, args.rounds, args.seconds, []))
        report("bare FastAPI", cases)
    for name in names:
        with tempfile.TemporaryDirectory() as folder, database(name, Path(folder)) as url:
            good &= measure(name, url, Path(folder), args)
    return 0 if good else 1


def measure(name: str, url: str, folder: Path, args: argparse.Namespace) -> bool:
    support = _load("api_support")
    proxy = support.Proxy()
    emails = [f"person{number}@example.org" for number in range(args.clients)]
    environment = {
        "HAYSTACK_DATABASE_URL": url,
        "HAYSTACK_WORK_DIR": str(folder / "work"),
        "HAYSTACK_PIPELINE_DIR": str(REPOSITORY),
        "HAYSTACK_IAP_AUDIENCE": support.AUDIENCE,
        "HAYSTACK_IAP_KEYS_URL": proxy.url,
        "HAYSTACK_PORT": str(_free_port()),
        "HAYSTACK_REQUESTS_PER_MINUTE": "1000000",
    }
    store, run_ids = fill(environment, emails)
    port = int(environment["HAYSTACK_PORT"])
    requests = [
        (
            f"GET /api/v1/runs/{run_id} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\n"
            f"X-Goog-IAP-JWT-Assertion: {proxy.token(email)}\r\n\r\n"
        ).encode()
        for email, run_id in zip(emails, run_ids, strict=True)
    ]
    asking = [proxy.token(f"asker{number}@example.org") for number in range(args.previewers)]
    store.close()
    with served(environment) as process, writing(environment, run_ids):
        cases = uvloop.run(poll(process, port, requests, run_ids, args.rounds, args.seconds, asking))
    proxy.close()
    return report(name, cases)


def report(name: str, cases: dict[str, Case]) -> bool:
    """One line per case; false when one is too slow, or a poll failed."""
    good = True
    for case, (latencies, errors, elapsed, cpu) in cases.items():
        ordered = sorted(latencies)
        p50, p95, p99 = (1000 * ordered[min(len(ordered) - 1, int(len(ordered) * q))] for q in (0.5, 0.95, 0.99))
        cpu_each = f"{1e6 * cpu / len(ordered):.0f}" if cpu else ""
        print(
            f"| {name} | {case} | {len(ordered)} | {len(ordered) / elapsed:.0f} | {cpu_each} "
            f"| {p50:.0f} | {p95:.0f} | {p99:.0f} | {1000 * ordered[-1]:.0f} | {errors} |",
            flush=True,
        )
        if not case.startswith("preview"):
            good &= not errors and p99 < 1000 * (HEALTH_LIMIT if case.startswith("health") else LIMIT)
    return good


# -- what is measured ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def database(name: str, folder: Path) -> Iterator[str]:
    if name == "sqlite":
        yield f"sqlite:///{folder / 'haystack.sqlite'}"
        return
    with _load("postgres").postgres_server() as url:
        yield url


def open_store(environment: dict[str, str]) -> Any:
    from haystack.runs.settings import ServiceSettings
    from haystack.runs.store import RunStore

    return RunStore.open(
        ServiceSettings(database_url=environment["HAYSTACK_DATABASE_URL"], work_dir=environment["HAYSTACK_WORK_DIR"])
    )


def fill(environment: dict[str, str], emails: list[str]) -> tuple[Any, list[str]]:
    """A store with one run per client (of another folder, so that the service leaves them alone), and 2,000 others."""
    from haystack.query import parse_question
    from haystack.runs.models import RunRecord, RunStatus, ScoreRecord, new_run_id, utc_now

    store = open_store(environment)
    understood = parse_question(QUERY).model_dump(mode="json")
    run_ids = []
    for number in range(len(emails) + 2000):
        mine = number < len(emails)
        run = RunRecord(
            run_id=new_run_id(),
            user_email=emails[number] if mine else "somebody@example.org",
            query=QUERY,
            structured_query=understood,
            config={"max_iterations": 5, "score_threshold": 8},
            seed=0,
            status=RunStatus.RUNNING if mine else RunStatus.COMPLETED,
            phase="inference",
            iteration=3,
            max_iterations=5,
            scores=[ScoreRecord(iteration=1, score=3.5), ScoreRecord(iteration=2, score=4.25)],
            backend="local",
            node="elsewhere",
            created_at=utc_now(),
            updated_at=utc_now(),
        )
        store.create(run)
        if mine:
            run_ids.append(run.run_id)
    return store, run_ids


@contextlib.contextmanager
def served(environment: dict[str, str]) -> Iterator[psutil.Process]:
    command = [sys.executable, "-m", "haystack.cli", "serve"]
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 60
            while not _answers(int(environment["HAYSTACK_PORT"])):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("the service does not start")
                time.sleep(0.1)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


BARE = """
import sys, uvicorn
from fastapi import FastAPI
app = FastAPI()

@app.get("/run")
async def run():
    return {"run_id": "run", "status": "running", "text": "x" * 700}

@app.get("/")
async def page():
    return {}

uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
"""


@contextlib.contextmanager
def bare() -> Iterator[tuple[int, psutil.Process]]:
    """A FastAPI app without sign-in, database or anything else; its port and process."""
    port = _free_port()
    with subprocess.Popen([sys.executable, "-c", BARE, str(port)]) as process:
        try:
            while not _answers(port, "/run"):
                time.sleep(0.1)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


@contextlib.contextmanager
def writing(environment: dict[str, str], run_ids: list[str]) -> Iterator[None]:
    """Ten changes a second, as the watcher of running pipelines makes them; in a process of its own."""
    writer = multiprocessing.get_context("fork").Process(target=_write, args=(environment, run_ids), daemon=True)
    writer.start()
    try:
        yield
    finally:
        writer.terminate()
        writer.join()


def _write(environment: dict[str, str], run_ids: list[str]) -> None:
    store = open_store(environment)
    for run_id in itertools.cycle(run_ids):
        time.sleep(0.1)
        store.change(run_id, lambda run: {"events_read": run.events_read + 1})


# -- clients: raw sockets, for they must cost little -----------------------------------------------------------------


class Client(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, request: bytes, run_id: str) -> None:
        self.request, self.run_id = request, run_id.encode()
        self.buffer = b""
        self.answered: asyncio.Future[bool] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, request: bytes | None = None) -> asyncio.Future[bool]:
        self.answered = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.transport.write(request or self.request)
        return self.answered

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end or self.answered is None:
            return
        length = int(LENGTH.search(head)[1])  # type: ignore[index]
        if len(body) >= length and not self.answered.done():
            whole = head.startswith(b"HTTP/1.1 200 ") and self.run_id in body
            self.answered.set_result(whole and (not self.run_id or b'"status":"running"' in body))

    def connection_lost(self, _: Exception | None) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(False)


async def poll(
    process: psutil.Process,
    port: int,
    requests: list[bytes],
    run_ids: list[str],
    rounds: int,
    seconds: float,
    askers: list[str],
) -> dict[str, Case]:
    """Every case; the last one where `askers` (tokens) has any."""
    loop = asyncio.get_running_loop()
    makers = [lambda r=request, i=run_id: Client(r, i) for request, run_id in zip(requests, run_ids, strict=True)]
    clients = [
        client for _, client in await asyncio.gather(*(loop.create_connection(m, "127.0.0.1", port) for m in makers))
    ]
    await asyncio.gather(*(client.ask(_get(port, "/")) for client in clients))
    cases = {
        "first round": await counted(process, bursts(clients, 1, 0)),
        f"{rounds} bursts": await counted(process, bursts(clients, rounds, 0.05)),
        "steady": await counted(process, steady(clients, seconds)),
    }
    if askers:
        previews, health = [Client(b"", "") for _ in askers], Client(_get(port, "/api/health"), "")
        for other in (*previews, health):
            await loop.create_connection(lambda other=other: other, "127.0.0.1", port)
        polled, asked, healthy = await asyncio.gather(
            counted(process, steady(clients, seconds)),
            reading(previews, askers, port, seconds),
            watching(health, seconds),
        )
        with_others = f"with {len(askers)} previewers"
        cases |= {with_others: polled, f"health {with_others}": healthy, "previews (429 are errors)": asked}
        clients += [*previews, health]
    for client in clients:
        client.transport.close()
    return cases


async def counted(process: psutil.Process, case: Awaitable[Case]) -> Case:
    """With the CPU time of the service's process (without the processes that read previews)."""
    before = process.cpu_times()
    result = await case
    after = process.cpu_times()
    return result._replace(cpu=after.user + after.system - before.user - before.system)


async def timed(client: Client, latencies: list[float]) -> int:
    """Ask once; 1 for an error."""
    began = time.perf_counter()
    good = await client.ask()
    latencies.append(time.perf_counter() - began)
    return 0 if good else 1


async def bursts(clients: list[Client], rounds: int, pause: float) -> Case:
    latencies: list[float] = []
    errors, busy = 0, 0.0
    for _ in range(rounds):
        began = time.perf_counter()
        errors += sum(await asyncio.gather(*(timed(client, latencies) for client in clients)))
        busy += time.perf_counter() - began
        await asyncio.sleep(pause)
    return Case(latencies, errors, busy)


async def reading(clients: list[Client], tokens: list[str], port: int, seconds: float) -> Case:
    """Previews of long questions, all different."""
    latencies: list[float] = []
    began = time.perf_counter()

    async def one(client: Client, token: str, number: int) -> int:
        errors = asked = 0
        while time.perf_counter() - began < seconds:
            asked += 1
            body = json.dumps({"query": f"{LONG_QUERY} {number} {asked}"}).encode()
            client.request = (
                f"POST /api/v1/runs/validate HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nX-Goog-IAP-JWT-Assertion: {token}\r\n\r\n"
            ).encode() + body
            refused = await timed(client, latencies)
            errors += refused
            await asyncio.sleep(refused)
        return errors

    pairs = zip(clients, tokens, strict=True)
    errors = sum(await asyncio.gather(*(one(client, token, n) for n, (client, token) in enumerate(pairs))))
    return Case(latencies, errors, time.perf_counter() - began)


async def watching(client: Client, seconds: float) -> Case:
    """A load balancer that looks often."""
    latencies: list[float] = []
    errors, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        errors += await timed(client, latencies)
        await asyncio.sleep(0.05)
    return Case(latencies, errors, time.perf_counter() - began)


async def steady(clients: list[Client], seconds: float) -> Case:
    latencies: list[float] = []
    began = time.perf_counter()
    pauses = random.Random(0)

    async def one(client: Client) -> int:
        errors = 0
        while time.perf_counter() - began < seconds:
            await asyncio.sleep(0.2 * pauses.random())
            errors += await timed(client, latencies)
        return errors

    errors = sum(await asyncio.gather(*(one(client) for client in clients)))
    return Case(latencies, errors, time.perf_counter() - began)


# -- helpers -------------------------------------------------------------------------------------------------------


def _load(name: str) -> ModuleType:
    """A helper of the tests."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", REPOSITORY / "tests" / "api" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _get(port: int, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def _answers(port: int, path: str = "/api/health/ready") -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
