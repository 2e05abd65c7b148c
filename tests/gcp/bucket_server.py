"""A Cloud Storage server on loopback that speaks the documented JSON API where gcp-storage-emulator does not.

It honours Range and ifGenerationMatch, and counts requests and bytes. Objects lie in memory.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import google_crc32c


class Buckets:
    """Content and counters of the server; tests read and change them."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, tuple[bytes, int]]] = {}
        """bucket -> name -> (content, generation)"""
        self.digests: dict[int, tuple[str, str]] = {}
        """generation -> (CRC32C, MD5), both in base64: those of a large object take a while"""
        self.refuse: dict[str, tuple[int, str, str]] = {}
        """bucket -> (HTTP status, reason, message) with which every request is answered"""
        self.address = ""
        self.lock = threading.RLock()
        self.generation = 1000
        self.sessions: dict[str, tuple[str, str, dict[str, str], bytearray]] = {}
        self.reset()

    def reset(self) -> None:
        """Set the counters to zero."""
        self.requests = 0
        self.bytes_out = 0

    def put(self, bucket: str, name: str, data: bytes, query: dict[str, str]) -> dict | tuple[int, str, str]:
        with self.lock:
            if bucket not in self.objects:
                return 404, "notFound", "The specified bucket does not exist."
            present = self.objects[bucket].get(name)
            wanted = query.get("ifGenerationMatch")
            if wanted is not None and int(wanted) != (present[1] if present else 0):
                return 412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."
            self.generation += 1
            self.objects[bucket][name] = (data, self.generation)
            crc, md5 = google_crc32c.Checksum(data).digest(), hashlib.md5(data).digest()
            self.digests[self.generation] = (base64.b64encode(crc).decode(), base64.b64encode(md5).decode())
            return self.describe(bucket, name)

    def describe(self, bucket: str, name: str) -> dict:
        data, generation = self.objects[bucket][name]
        crc, md5 = self.digests[generation]
        quoted = urllib.parse.quote(name, safe="")
        return {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{generation}",
            "name": name,
            "bucket": bucket,
            "generation": str(generation),
            "metageneration": "1",
            "size": str(len(data)),
            "crc32c": crc,
            "md5Hash": md5,
            "contentType": "application/octet-stream",
            "timeCreated": "2026-01-01T00:00:00.000Z",
            "updated": "2026-01-01T00:00:00.000Z",
            "storageClass": "STANDARD",
            "etag": str(generation),
            "mediaLink": f"{self.address}/download/storage/v1/b/{bucket}/o/{quoted}?alt=media",
        }

    def list(self, bucket: str, query: dict[str, str]) -> dict:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        items, prefixes = [], set()
        for name in sorted(self.objects[bucket]):
            rest = name.removeprefix(prefix)
            if not name.startswith(prefix):
                continue
            if delimiter and delimiter in rest:
                prefixes.add(prefix + rest.split(delimiter)[0] + delimiter)
            else:
                items.append(self.describe(bucket, name))
        return {"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)}


class Handler(BaseHTTPRequestHandler):
    """One request. The server's `buckets` hold everything."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet
    disable_nagle_algorithm = True

    def log_message(self, *arguments: object) -> None:
        """Nothing."""

    @property
    def buckets(self) -> Buckets:
        return self.server.buckets

    def _route(self) -> tuple[str, str, str | None, dict[str, str]]:
        """(what, bucket, object, query)"""
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        found = re.fullmatch(
            r"(?:/(upload|download))?(?:/resumable)?/storage/v1/b(?:/([^/]+)(?:/o(?:/(.+))?)?)?", parts.path
        )
        if not found:
            return "unknown", "", None, query
        kind = found.group(1) or ("object" if "/o" in parts.path else "bucket")
        name = urllib.parse.unquote(found.group(3)) if found.group(3) else None
        return kind, found.group(2) or "", name, query

    def _answer(self, result: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        if isinstance(result, tuple):
            status, reason, message = result
            errors = [{"message": message, "domain": "global", "reason": reason}]
            result = {"error": {"code": status, "message": message, "errors": errors}}
        body = result if isinstance(result, bytes) else json.dumps(result).encode() if result is not None else b""
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header(
            "Content-Type", "application/octet-stream" if isinstance(result, bytes) else "application/json"
        )
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _refused(self, bucket: str) -> bool:
        self.buckets.requests += 1
        refusal = self.buckets.refuse.get(bucket)
        if refusal:
            self._answer(refusal)
        return bool(refusal)

    def do_GET(self) -> None:
        kind, bucket, name, query = self._route()
        if self._refused(bucket):
            return
        with self.buckets.lock:
            if bucket not in self.buckets.objects:
                self._answer((404, "notFound", "The specified bucket does not exist."))
            elif kind == "bucket":
                self._answer({"kind": "storage#bucket", "id": bucket, "name": bucket, "location": "US"})
            elif name is None:
                self._answer(self.buckets.list(bucket, query))
            elif name not in self.buckets.objects[bucket]:
                self._answer((404, "notFound", f"No such object: {bucket}/{name}"))
            elif query.get("alt") == "media" or kind == "download":
                self._media(bucket, name, query)
            else:
                self._answer(self.buckets.describe(bucket, name))

    do_HEAD = do_GET  # noqa: N815

    def _media(self, bucket: str, name: str, query: dict[str, str]) -> None:
        data, generation = self.buckets.objects[bucket][name]
        if query.get("ifGenerationMatch") not in {None, str(generation)}:
            self._answer((412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."))
            return
        described = self.buckets.describe(bucket, name)
        headers = {
            "x-goog-hash": f"crc32c={described['crc32c']},md5={described['md5Hash']}",
            "x-goog-generation": str(generation),
            "Accept-Ranges": "bytes",
        }
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if found and (found.group(1) or found.group(2)):
            first, last = found.groups()
            start = int(first) if first else max(0, len(data) - int(last))
            stop = min(int(last) + 1, len(data)) if first and last else len(data)
            if start >= len(data):
                self._answer((416, "requestedRangeNotSatisfiable", "Request range not satisfiable"))
                return
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            data = data[start:stop]
        self.buckets.bytes_out += len(data)
        self._answer(data, 206 if "Content-Range" in headers else 200, headers)

    def do_POST(self) -> None:
        kind, bucket, name, query = self._route()
        body = self._body()
        if self._refused(bucket):
            return
        if kind == "bucket":
            with self.buckets.lock:
                self.buckets.objects.setdefault(json.loads(body)["name"], {})
            self._answer({"kind": "storage#bucket", "name": json.loads(body)["name"]})
        elif query.get("uploadType") == "resumable":
            name = json.loads(body or b"{}").get("name") or query["name"]
            key = str(len(self.buckets.sessions) + 1)
            self.buckets.sessions[key] = (bucket, name, query, bytearray())
            location = f"{self.buckets.address}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={key}"
            self._answer(None, headers={"Location": location})
        elif query.get("uploadType") == "media":
            self._answer(self.buckets.put(bucket, query["name"], body, query))
        else:
            boundary = re.search(r"boundary=['\"]?([^'\";]+)", self.headers["Content-Type"]).group(1).encode()
            _, described, content, _ = body.split(b"--" + boundary)
            end = b"\r\n" if described.startswith(b"\r\n") else b"\n"  # gcsfs writes plain line feeds
            described, content = (part.split(2 * end, 1)[1].removesuffix(end) for part in (described, content))
            self._answer(self.buckets.put(bucket, json.loads(described)["name"], content, query))

    def do_PUT(self) -> None:
        _, _, _, query = self._route()
        body = self._body()
        bucket, name, started, received = self.buckets.sessions[query["upload_id"]]
        if self._refused(bucket):
            return
        received += body
        total = (self.headers.get("Content-Range") or "").rpartition("/")[2]
        if total == "*" or (total.isdigit() and len(received) < int(total)):
            self._answer(None, 308, {"Range": f"bytes=0-{len(received) - 1}"})
        else:
            self._answer(self.buckets.put(bucket, name, bytes(received), started))

    def do_DELETE(self) -> None:
        _, bucket, name, _ = self._route()
        if self._refused(bucket):
            return
        with self.buckets.lock:
            if name not in self.buckets.objects.get(bucket, {}):
                self._answer((404, "notFound", f"No such object: {bucket}/{name}"))
                return
            del self.buckets.objects[bucket][name]
        self._answer(None, 204)


@contextmanager
def serving() -> Iterator[Buckets]:
    """Run the server until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.buckets = Buckets()
    server.buckets.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.buckets
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
