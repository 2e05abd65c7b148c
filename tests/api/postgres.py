"""A real PostgreSQL server for tests and benchmarks: `with postgres_server() as url: ...`.

Debian's binaries are used where they are. PostgreSQL refuses to run as root, so as root it runs as
`postgres` or `nobody`.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ports import free_port


def binaries() -> Path | None:
    """Folder with initdb and postgres, the newest; None where there is none."""
    named = os.environ.get("POSTGRES_BIN")
    on_path = shutil.which("initdb")
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    newest = sorted(installed, key=lambda path: float(path.parent.name), reverse=True)
    folders = [*([Path(named)] if named else []), *newest, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


@contextmanager
def postgres_server() -> Iterator[str]:
    """Address of a server on loopback that is empty, and is thrown away afterwards."""
    found = binaries()
    if found is None:
        raise FileNotFoundError("no PostgreSQL binaries (Debian: apt-get install postgresql)")
    account = _account()
    with tempfile.TemporaryDirectory(prefix="haystack-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir(mode=0o700)
        if account:
            os.chown(data, *_ids(account))
        as_user = {"user": account, "cwd": data} if account else {"cwd": data}
        made = subprocess.run(
            [found / "initdb", "-D", data, "-U", "haystack", "-A", "trust", "-E", "UTF8", "--no-sync"],
            capture_output=True,
            text=True,
            **as_user,
        )
        if made.returncode:
            raise RuntimeError(made.stderr)
        port = free_port()
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "200",
        }
        command = [found / "postgres", "-D", data, "-p", str(port)]
        command += [f"-c{name}={value}" for name, value in options.items()]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, **as_user)
        try:
            _wait_for(found, port, server, folder / "log")
            yield f"postgresql://haystack@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _account() -> str | None:
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _ids(account: str) -> tuple[int, int]:
    entry = pwd.getpwnam(account)
    return entry.pw_uid, entry.pw_gid


def _wait_for(found: Path, port: int, server: subprocess.Popen, log: Path) -> None:
    """pg_isready waits by itself, a second at most per try."""
    for _ in range(60):
        if server.poll() is not None:
            raise RuntimeError(log.read_text())
        ready = [found / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
        if subprocess.run(ready).returncode == 0:
            return
        _pause()
    raise RuntimeError(f"PostgreSQL did not come up: {log.read_text()}")


def _pause() -> None:
    import time

    time.sleep(0.1)
