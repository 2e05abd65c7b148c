"""A stand-in for the image registry and the quotas of Compute Engine: HTTP on loopback, see edge/sitecustomize.py."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class RestService:
    """Answers for `https://HOST/PATH`, asked as `/HOST/PATH`."""

    def __init__(self) -> None:
        self.images: set[str] = set()
        """full names, HOST/PROJECT/REPOSITORY/IMAGE:TAG"""
        self.status_of_images: int | None = None
        """instead of 200 or 404"""
        self.quotas: dict[str, float] = {}
        self.address = ""

    @contextmanager
    def serving(self) -> Iterator[RestService]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host, _, path = self.path.lstrip("/").partition("/")
                if host == "compute.googleapis.com":
                    quotas = [{"metric": name, "limit": limit, "usage": 0} for name, limit in service.quotas.items()]
                    self.answer(200, {"quotas": quotas})
                elif path.startswith("v2/") and "/manifests/" in path:
                    name, reference = path.removeprefix("v2/").split("/manifests/")
                    known = f"{host}/{name}:{reference}" in service.images
                    self.answer(service.status_of_images or (200 if known else 404), {})
                else:
                    self.answer(404, {})

            def do_HEAD(self) -> None:
                self.do_GET()

            def answer(self, status: int, body: dict) -> None:
                data = b"" if self.command == "HEAD" else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
