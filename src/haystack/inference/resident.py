"""A process that keeps the model between inferences, and how a stage asks it.

The process answers `POST /predict` over a Unix socket in a folder that only this user can enter: plain HTTP from the
standard library, one request at a time, so that a GPU holds one model and one generation. What it computes is what the
stage would compute by itself, to the byte; where it is absent or fails, the stage does so.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from socketserver import UnixStreamServer
from typing import TYPE_CHECKING, Any

from haystack.config import ModelSettings
from haystack.errors import HaystackError

if TYPE_CHECKING:
    from haystack.inference.store import Model

SOCKET = "HAYSTACK_MODEL_SOCKET"
"""environment variable: path of the socket of a process that keeps the model"""
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

log = logging.getLogger(__name__)


def run_inference_resident(
    model_dir: Path | None,
    cells: str,
    out: str,
    settings: ModelSettings,
    seed: int,
    files: Mapping[str, Path],
    threads: int,
    log_file: str,
) -> None:
    """Have `run_inference` done by the process that keeps the model, or do it here.

    Parameters
    ----------
    model_dir, cells, out, settings, seed, files
        as for `run_inference`.
    threads
        threads of numeric libraries.
    log_file
        where that process writes what it logs.
    """
    from haystack.inference.predict import run_inference

    path = os.environ.get(SOCKET)
    if path and model_dir is not None and Path(path).exists():
        request = {
            "folder": os.getcwd(),
            "model_dir": str(model_dir),
            "cells": cells,
            "out": out,
            "settings": settings.model_dump(mode="json"),
            "seed": seed,
            "files": {name: str(file) for name, file in files.items()},
            "threads": threads,
            "log_file": log_file,
        }
        problem = post(path, request)
        if problem is None:
            return
        log.warning("The process that keeps the model failed (%s): predicting without it", problem)
    run_inference(model_dir, cells, out, settings, seed, files)


def post(path: str, request: Mapping[str, Any]) -> str | None:
    """Send a request and wait for its end; None when all went well, otherwise what went wrong."""
    connection = UnixConnection(path)
    try:
        connection.request("POST", "/predict", json.dumps(request), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, HTTPException) as error:
        return f"it ended: {error!r}"
    finally:
        connection.close()
    return None if answer.status == 200 else text


class UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


def keep_model(listener: socket.socket) -> None:
    """Answer requests until the process that started this one ends.

    Parameters
    ----------
    listener
        a listening Unix socket, which other processes may share: each request goes to one that is idle.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for Snakemake, whose end is the end of this process
    path = Path(listener.getsockname())
    threading.Thread(target=_end_with_parent, args=(path.parent,), daemon=True).start()
    server = ModelServer(str(path), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.serve_forever()


def _end_with_parent(folder: Path) -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


class ModelServer(UnixStreamServer):
    """One request at a time, and the model of the last one."""

    model: tuple[tuple[Any, ...], Model] | None = None

    def predict(self, request: dict[str, Any]) -> None:
        """Do what `run_inference_resident` asks for."""
        os.chdir(request["folder"])
        from threadpoolctl import threadpool_limits

        from haystack.inference.predict import run_inference

        threads = request["threads"]
        handler = logging.FileHandler(request["log_file"], encoding="utf-8")
        handler.setFormatter(logging.Formatter(LOG_FORMAT))
        root = logging.getLogger()
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        try:
            import torch

            torch.set_num_threads(threads)
            with threadpool_limits(threads):
                run_inference(
                    request["model_dir"],
                    request["cells"],
                    request["out"],
                    ModelSettings.model_validate(request["settings"]),
                    request["seed"],
                    {name: Path(file) for name, file in request["files"].items()},
                    load=self.load,
                )
        finally:
            root.removeHandler(handler)
            handler.close()

    def load(self, folder: Path, device: str, precision: str) -> Model:
        """The model in memory where it is the same, otherwise from its folder."""
        import torch

        from haystack.inference.store import PROVENANCE, load_model

        # It holds the checksums of the other files, so a model that is copied anew is the same one.
        key = (folder / PROVENANCE).read_text(), device, precision
        if self.model is not None and self.model[0] == key:
            self.model[1].seconds["load"] = 0.0
            if self.model[1].device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.model[1].device)
            log.info("%s is in memory already", folder)
        else:
            self.model = None  # the memory of the last one, before there is a second
            self.model = key, load_model(folder, device, precision)
        return self.model[1]


class Handler(BaseHTTPRequestHandler):
    """200: done; 422: the request is at fault, and the stage meets the error itself; 500: the process ends."""

    server: ModelServer

    def do_POST(self) -> None:
        """Predict, and say how it went."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self.server.predict(json.loads(body))
        except HaystackError as error:
            self._answer(422, str(error))
        except Exception as error:
            # A device may be of no use after an error (CUDA): the stage computes by itself, the next has a new process.
            self._answer(500, f"{type(error).__name__}: {error}")
            os._exit(1)
        else:
            self._answer(200, "")

    def _answer(self, status: int, text: str) -> None:
        data = text.encode()
        with suppress(OSError):  # a stage that was stopped waits for no answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if data:
                self.wfile.write(data)

    def address_string(self) -> str:
        """A Unix socket's client has no address."""
        return "local"

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are in the logs of their stages."""
