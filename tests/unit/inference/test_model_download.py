"""Models fetched from a hub and from storage, both played by servers on this machine."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from haystack.errors import ModelError
from haystack.inference import load_model
from haystack.inference.architecture import Architecture, build
from haystack.inference.download import copy_model, download_stack_model

TINY = Architecture(n_genes=30, n_hidden=4, token_dim=8, n_cells=32, n_layers=1, n_heads=2)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "someone/a-model"
CHECKPOINT, GENES = "bc_large_aligned.ckpt", "basecount_1000per_15000max.pkl"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    torch.manual_seed(0)
    state = {f"model.{name}": tensor for name, tensor in build(TINY).state_dict().items()}
    torch.save({"hyper_parameters": {"model_config": TINY.model_dump()}, "state_dict": state}, tmp_path / "c")
    return {CHECKPOINT: (tmp_path / "c").read_bytes(), GENES: pickle.dumps([f"GENE{i}" for i in range(30)])}


@pytest.fixture
def hub(files: dict[str, bytes]) -> Iterator[str]:
    """Speaks what the hub documents of `/{repository}/resolve/{commit}/{file}`: ETag, commit header, ranges, errors."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            prefix = f"/{REPOSITORY}/resolve/{COMMIT}/"
            if not self.path.startswith(f"/{REPOSITORY}/"):
                return self._refuse("RepoNotFound", 401)
            if not self.path.startswith(prefix):
                return self._refuse("RevisionNotFound", 404)
            content = files.get(self.path.removeprefix(prefix))
            if content is None:
                return self._refuse("EntryNotFound", 404)
            span = self.headers.get("Range")
            start = int(span.removeprefix("bytes=").split("-")[0]) if span else 0
            self.send_response(206 if span else 200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content) - start))
            if span:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if body:
                self.wfile.write(content[start:])
            return None

        def _refuse(self, code: str, status: int) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *given: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def download(hub: str, tmp_path: Path, *more: str, repository: str = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """`haystack model download`, with an empty cache of its own."""
    command = [sys.executable, "-m", "haystack.cli", "model", "download", repository, "--out", str(tmp_path / "model")]
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *more], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_checkpoint_of_the_hub_becomes_a_model(hub: str, tmp_path: Path, files: dict[str, bytes]) -> None:
    pin = hashlib.sha256(files[CHECKPOINT]).hexdigest()
    done = download(hub, tmp_path, "--revision", COMMIT, "--checkpoint-sha256", pin)
    assert done.returncode == 0, done.stderr
    model = load_model(tmp_path / "model", "cpu")
    assert model.genes[:2] == ["GENE0", "GENE1"]
    assert model.provenance is not None
    assert model.provenance.source["repository"] == REPOSITORY
    assert model.provenance.source["revision"] == COMMIT
    assert model.provenance.source["sha256"][CHECKPOINT] == pin


@pytest.mark.parametrize(
    ("more", "repository", "said"),
    [
        (("--revision", COMMIT, "--checkpoint-sha256", "0" * 64), REPOSITORY, "sha256"),
        (("--revision", "f" * 40), REPOSITORY, "answers 404"),
        (("--revision", COMMIT, "--genes", "absent.pkl"), REPOSITORY, "answers 404 for absent.pkl"),
        (("--revision", COMMIT), "someone/unknown", "answers 401"),
        (("--revision", "main"), REPOSITORY, "revision"),
        ((), REPOSITORY, "revision"),
    ],
)
def test_anything_else_is_refused(hub: str, tmp_path: Path, more: tuple[str, ...], repository: str, said: str) -> None:
    done = download(hub, tmp_path, *more, repository=repository)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "model" / "provenance.json").exists()


@pytest.mark.slow  # huggingface_hub tries for 20 seconds
def test_no_hub_at_the_address(tmp_path: Path) -> None:
    done = download("http://127.0.0.1:9", tmp_path, "--revision", COMMIT)
    assert done.returncode == 1
    assert "cannot be fetched" in done.stderr
    assert "Traceback" not in done.stderr


def test_offline_fetches_nothing(tmp_path: Path) -> None:
    from haystack.config import ModelDownload

    with pytest.raises(ModelError, match="offline: true"):
        download_stack_model(ModelDownload(revision=COMMIT), tmp_path / "model", offline=True)


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A model folder, and the address at which a server offers it."""
    from haystack.inference.store import save_model

    torch.manual_seed(0)
    save_model(tmp_path / "stored", build(TINY).state_dict(), TINY, [f"GENE{i}" for i in range(30)], {})
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield tmp_path / "stored", f"http://127.0.0.1:{server.server_port}/stored"
        server.shutdown()


def test_folder_is_copied_and_checked(stored: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = stored
    copy_model(url, tmp_path / "copy")
    assert load_model(tmp_path / "copy", "cpu").genes == load_model(folder, "cpu").genes
    (folder / "genes.txt").write_text("CHANGED\n")
    with pytest.raises(ModelError, match="sha256"):
        copy_model(url, tmp_path / "second")
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match="no such file"):
        copy_model(url, tmp_path / "second")
    assert list((tmp_path / "second").iterdir()) == []
