"""A stand-in for Google's proxy, a backend that is told what to see, and the service on a real port."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from haystack.api import create_app
from haystack.api.connections import Connection
from haystack.contracts.design import Finding
from haystack.runs.backend import BackendError, Observation
from haystack.runs.models import (
    FILES,
    Accuracy,
    ModelRow,
    Pathway,
    RunRecord,
    RunResult,
    TranscriptionFactor,
    WorkflowEvent,
)
from haystack.runs.outcome import Outcome
from haystack.runs.service import RunService
from haystack.runs.settings import ServiceSettings
from haystack.runs.store import RunStore

AUDIENCE = "/projects/123/global/backendServices/456"
ISSUER = "https://cloud.google.com/iap"
HEADER = "X-Goog-IAP-JWT-Assertion"
REPOSITORY = Path(__file__).parents[2]


class Proxy:
    """Signs tokens as the Identity-Aware Proxy does, and serves its public keys on loopback."""

    def __init__(self) -> None:
        self.keys = {"first": ec.generate_private_key(ec.SECP256R1())}
        self.current = "first"
        self.fetches = 0
        self.broken = False
        self.cache_control = ""
        self.as_pem = False
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy.fetches += 1
                body = json.dumps(proxy.document()).encode()
                self.send_response(500 if proxy.broken else 200)
                self.send_header("Content-Length", str(len(body)))
                if proxy.cache_control:
                    self.send_header("Cache-Control", proxy.cache_control)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def pem(self, kid: str = "") -> bytes:
        public = self.keys[kid or self.current].public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def document(self) -> dict[str, Any]:
        if self.as_pem:
            return {kid: self.pem(kid).decode() for kid in self.keys}
        return {"keys": [{**_jwk(key), "kid": kid} for kid, key in self.keys.items()]}

    def rotate(self, kid: str, *, keep: bool) -> None:
        if not keep:
            self.keys.clear()
        self.keys[kid] = ec.generate_private_key(ec.SECP256R1())
        self.current = kid

    def claims(self, email: str, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        subject = f"accounts.google.com:{email}"
        claims = {"aud": AUDIENCE, "iss": ISSUER, "sub": subject, "email": email, "iat": now - 5, "exp": now + 600}
        return {name: value for name, value in {**claims, **changes}.items() if value is not None}

    def token(self, email: str = "ada@example.org", *, key: Any = None, headers: Any = None, **changes: Any) -> str:
        return jwt.encode(
            self.claims(email, **changes),
            key or self.keys[self.current],
            algorithm="ES256",
            headers={"kid": self.current, **(headers or {})},
        )

    def bad_tokens(self) -> dict[str, str]:
        """What must not be let in, by name."""
        now = int(time.time())
        mallory = ec.generate_private_key(ec.SECP256R1())
        good = self.token()
        head, body, signature = good.split(".")
        claims = self.claims("ada@example.org")

        def raw(header: dict[str, str], key: bytes | None = None) -> str:
            parts = [_b64(json.dumps(header).encode()), _b64(json.dumps(claims).encode())]
            if key is None:
                return ".".join([*parts, ""])
            return ".".join([*parts, _b64(hmac.new(key, ".".join(parts).encode(), hashlib.sha256).digest())])

        other = _b64(json.dumps({**claims, "email": "eve@example.org"}).encode())
        curve = ec.generate_private_key(ec.SECP384R1())
        return {
            "not a token": "hello",
            "empty": "",
            "forged": self.token(key=mallory),
            "other body": f"{head}.{other}.{signature}",
            "signature cut": f"{head}.{body}.{signature[:-8]}",
            "no signature": f"{head}.{body}.",
            "alg none": raw({"alg": "none", "typ": "JWT", "kid": self.current}),
            "alg None": raw({"alg": "None", "typ": "JWT", "kid": self.current}),
            "HS256 with the public key": raw({"alg": "HS256", "typ": "JWT", "kid": self.current}, self.pem()),
            "ES384": jwt.encode(claims, curve, algorithm="ES384", headers={"kid": self.current}),
            "expired": self.token(iat=now - 700, exp=now - 1),
            "long expired": self.token(iat=now - 9000, exp=now - 8000),
            "of the future": self.token(iat=now + 600, exp=now + 1200),
            "wrong audience": self.token(aud="/projects/123/global/backendServices/999"),
            "no audience": self.token(aud=None),
            "wrong issuer": self.token(iss="https://accounts.google.com"),
            "no issuer": self.token(iss=None),
            "no expiry": self.token(exp=None),
            "expiry is text": self.token(exp="9999999999"),
            "no e-mail": self.token(""),
            "e-mail of two": self.token("ada@example.org,eve@example.org"),
            "unknown key": self.token(headers={"kid": "nobody"}),
            "no key id": jwt.encode(claims, self.keys[self.current], algorithm="ES256"),
            "key from the header": self.token(key=mallory, headers={"jwk": {**_jwk(mallory), "kid": self.current}}),
            "too long": good + "A" * 20_000,
        }


def _jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    return {**jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "alg": "ES256", "use": "sig"}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


RESULT = RunResult(
    success=True,
    grounding_score=7.8431,
    termination_reason="threshold_reached",
    confidence="medium",
    confidence_reasons=["expected r 0.41", "known response: supported"],
    capped_by="Distance: the closest measured cell type has an ontology similarity of 0.40 (1: the same type).",
    expected_accuracy=Accuracy(r=0.41, low=-0.05, high=0.63, sentence="Expected r 0.41, from 7 measured contexts."),
    answer=["For NK cells treated with ibrutinib, the model predicts 9 upregulated genes.", "No gene set is enriched."],
    cautions=["The thresholds are loose."],
    findings=[Finding(name="replicates", value=4, sentence="Replicates: 4 of 4 donors agree.", cap="high")],
    verdict="supported",
    verdict_sentence="Supported: its expected genes move as expected.",
    nulls={"a prediction that changes nothing": 1.18, "the same cells with shuffled labels": 5.2},
    percentile=99.5,
    models=[ModelRow(name="Additive", what="adds the mean measured shift", r=0.2, how="7 contexts", own=False)],
    num_de_genes=12,
    num_upregulated=9,
    num_downregulated=3,
    num_tested_genes=15012,
    effects={"CXCL10": 3.25, "IRF1": 1.5, "ACTB": -0.75},
    top_upregulated=["CXCL10", "IRF1"],
    top_downregulated=["ACTB"],
    enriched_pathways=[Pathway(term="Interferon response", library="haystack", direction="up", padj=1e-9)],
    activated_tfs=[TranscriptionFactor(name="STAT1", direction="up", statistic=8.1, padj=1e-6)],
    simulated=True,
)


class ToldBackend:
    """A backend without a pipeline: runs go on as the test says."""

    name = "local"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.node: str | None = "here"
        self.limit: int | None = 1000
        self.refuse: str | None = None
        self.submitted: list[str] = []
        self.starts: Counter[str] = Counter()
        self.cancelled: set[str] = set()
        self.seen: dict[str, Observation] = {}

    def submit(self, run: RunRecord) -> str | None:
        if self.refuse:
            raise BackendError(self.refuse)
        self.submitted.append(run.run_id)
        return None

    def start(self, run: RunRecord) -> str:
        self.starts[run.run_id] += 1
        return f"told:{run.run_id}"

    def observe(self, run: RunRecord) -> Observation:
        return self.seen.get(run.run_id, Observation("running"))

    def told(self, run: RunRecord, status: str) -> Observation:
        return self.observe(run)

    def outcome(self, run: RunRecord) -> Outcome:
        for name, file in FILES.items():
            path = self.folder / file.format(run_id=run.run_id)
            if not path.exists():
                path.write_text(f"<p>{name} of {run.run_id}</p>")
        return Outcome(RESULT, {"raw_query": run.query}, "synthetic_control", {}, run.scores, 0)

    def structured_query(self, run: RunRecord) -> dict[str, Any] | None:
        return None

    def cancel(self, run: RunRecord) -> bool:
        self.cancelled.add(run.run_id)
        return True

    def begin_look(self) -> None:
        pass

    def forget_end(self, run: RunRecord) -> None:
        self.seen.pop(run.run_id, None)

    def size(self, run: RunRecord) -> int | None:
        return 300_000_000

    def delete(self, run: RunRecord) -> None:
        for file in FILES.values():
            (self.folder / file.format(run_id=run.run_id)).unlink(missing_ok=True)

    def log_tail(self, run: RunRecord) -> str:
        return "12 of 40 steps (30%) done\n"

    def locate(self, run: RunRecord, name: str) -> Path | str | None:
        path = self.folder / FILES[name].format(run_id=run.run_id)
        return path if path.is_file() else None


class Live:
    """The service on a port of this machine."""

    def __init__(self, settings: ServiceSettings, service: RunService, backend: ToldBackend, proxy: Proxy) -> None:
        self.settings, self.service, self.backend, self.proxy = settings, service, backend, proxy
        self.store = service.store
        self.app = create_app(settings, service)
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            self.app,
            http=Connection,
            proxy_headers=False,
            log_level="error",
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()
        until(lambda: self._server.started)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)

    def client(self, email: str | None = "ada@example.org", **headers: str) -> httpx.Client:
        """Someone's browser."""
        signed = {HEADER: self.proxy.token(email)} if email else {}
        if self.settings.debug:
            signed = {"Cookie": self.cookie()}
        # Loopback without TLS: reading the certificates of authorities takes 26 ms a client.
        return httpx.Client(
            base_url=self.url, headers={**signed, **headers}, timeout=120, trust_env=False, verify=False
        )

    def cookie(self, email: str = "developer@localhost") -> str:
        """Of somebody who signed in here."""
        sessions = self.app.state.sessions
        return f"{sessions.cookie}={sessions.make(email)}"

    def submit(self, client: httpx.Client, query: str = "How would NK cells respond to ibrutinib?", **body: Any) -> str:
        answer = client.post("/api/v1/runs/", json={"query": query, **body})
        assert answer.status_code == 201, answer.text
        return answer.json()["run_id"]

    def advance(self) -> None:
        """What the dispatcher does in the background."""
        self.service._dispatcher.look()

    def see(self, run_id: str, state: str, *events: dict[str, Any], **more: Any) -> None:
        """Let the backend see something, and the service take note."""
        read = self.store.get(run_id).events_read + len(events)
        told = [WorkflowEvent(**event) for event in events]
        self.backend.seen[run_id] = Observation(state, told, read, **more)
        self.advance()

    def complete(self, run_id: str) -> None:
        """Let a run have two iterations and end."""
        self.advance()
        scored = [{"event": "iteration_scored", "iteration": i, "score": s} for i, s in ((1, 4.25), (2, 7.8431))]
        self.see(run_id, "running", {"event": "stage_started", "stage": "stack_inference", "iteration": 1}, *scored)
        self.see(run_id, "succeeded", {"event": "run_finished", "reason": "threshold_reached"})


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Return when the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def _pipeline(folder: Path) -> Path:
    """The pipeline without results: what was run in the checkout does not show in tests."""
    pipeline = folder / "pipeline"
    pipeline.mkdir()
    for name in ("config", "profiles", "resources", "workflow"):
        (pipeline / name).symlink_to(REPOSITORY / name)
    return pipeline


@contextmanager
def live(proxy: Proxy, folder: Path, *, background: bool = False, **changes: Any) -> Iterator[Live]:
    """A service whose settings are those of production, but for the addresses."""
    settings = ServiceSettings(
        **{
            "pipeline_dir": _pipeline(folder),
            "work_dir": folder / "service",
            "iap_audience": AUDIENCE,
            "iap_keys_url": proxy.url,
            "admins": ["root@example.org"],
            "poll_seconds": 0.05,
            **changes,
        }
    )
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    files = folder / "files"
    files.mkdir()
    backend = ToldBackend(files)
    service = RunService(settings, RunStore.open(settings), backend)
    if background:
        service.start()
    started = Live(settings, service, backend, proxy)
    try:
        yield started
    finally:
        started.close()
        service.close()
