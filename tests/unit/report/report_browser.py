"""A headless Chromium on a pipe (DevTools protocol over file descriptors 3 and 4): no driver, no extra package.

Picture of a report for the docs: python tests/unit/report/report_browser.py REPORT.html OUT.png [WIDTH HEIGHT]
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-quic",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Space": (32, " "), "ArrowDown": (40, "")}
"""key -> virtual key code, text that it types"""


class Browser:
    """One page. `errors` are console errors and exceptions, `requests` the addresses that the page asked for."""

    def __init__(self, timeout: float = 60) -> None:
        self.timeout = timeout
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        theirs, self._to = os.pipe()
        self._from, ours = os.pipe()
        command = ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{ours}', "bash", str(CHROMIUM), *FLAGS]
        command += [f"--user-data-dir={self._profile}", "about:blank"]
        self._process = subprocess.Popen(
            command,
            pass_fds=(theirs, ours),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(ours)
        self._buffer = b""
        self._last = 0
        self._events: list[str] = []
        self._session: str | None = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._to)
        os.close(self._from)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        shutil.rmtree(self._profile, ignore_errors=True)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer; events on the way are kept."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._note(answer)

    def open(self, page: str | Path, width: int = 1280, height: int = 900) -> None:
        """Load a file or an address and wait until it is loaded."""
        self.errors.clear()
        self.requests.clear()
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 640
        )
        self._events.clear()
        self.send("Page.navigate", url=page.resolve().as_uri() if isinstance(page, Path) else page)
        while "Page.loadEventFired" not in self._events:
            self._note(self._read())

    def run(self, expression: str) -> Any:
        """Value of a JavaScript expression (promises are awaited)."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until the expression is true, on this page or on one that it leads to."""
        end = time.monotonic() + self.timeout
        while not self._true_soon(expression):
            if time.monotonic() > end:
                raise TimeoutError(expression)

    def _true_soon(self, expression: str) -> bool:
        try:
            return bool(self.run(f"new Promise(done => setTimeout(() => done({expression}), 20))"))
        except RuntimeError as error:
            if "navigated" not in str(error):
                raise
            return False

    def press(self, key: str, *, shift: bool = False) -> None:
        """A key as a reader presses it: a name (Tab, Enter, Space, ArrowDown) or one character."""
        code, text = KEYS[key] if key in KEYS else (ord(key.upper()), key)
        event = {"key": text if key == "Space" else key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **event)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def screenshot(self, out: Path, width: int, height: int) -> None:
        """Save a PNG of the top of the page."""
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        out.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self, out: Path) -> None:
        """Save what a printer would get."""
        out.write_bytes(base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"]))

    def _read(self) -> dict[str, Any]:
        end = time.monotonic() + self.timeout
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(self._from, 1 << 20) if ready else b""
            if not chunk:
                raise TimeoutError("Chromium does not answer")
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(line))

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method", ""), event.get("params", {})
        self._events.append(method)
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning", "assert"}:
            self.errors.append(" ".join(str(item.get("value", item.get("description"))) for item in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.errors.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])


if __name__ == "__main__":
    page, picture, *size = sys.argv[1:]
    wide, high = (int(item) for item in size) if size else (1180, 1130)
    with Browser() as started:
        started.open(Path(page), wide)
        started.wait("[...document.querySelectorAll('.plot')].every(node => node.dataset.drawn)")
        started.screenshot(Path(picture), wide, high)
