"""nginx (Debian's) in front of the service, with the configuration of the documentation."""

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from ports import free_port

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx (Debian: apt-get install nginx-light)")
SECRET = "s3cret-of-the-proxy-that-nobody-else-knows"
DOCS = Path(__file__).parents[2] / "docs/service.md"


@pytest.fixture
def nginx(tmp_path):
    """Starts nginx with a server block; its address."""
    started = []

    def start(server, port):
        (tmp_path / "logs").mkdir(exist_ok=True)
        config = tmp_path / "nginx.conf"
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
        user = "user root root; " if os.geteuid() == 0 else ""  # the folder of a test is its owner's
        config.write_text(
            f"{user}daemon off; worker_processes 1; pid {tmp_path}/pid; error_log {tmp_path}/logs/error.log;\n"
            f"events {{}}\nhttp {{ access_log off; {paths}\n{server}\n}}\n"
        )
        process = subprocess.Popen([NGINX, "-p", str(tmp_path), "-c", str(config)])
        started.append(process)
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return f"http://127.0.0.1:{port}"
            except OSError:
                assert time.monotonic() < end
                assert process.poll() is None, (tmp_path / "logs/error.log").read_text()
                time.sleep(0.02)

    yield start
    for process in started:
        process.terminate()
        process.wait(20)


def test_the_documented_proxy_signs_people_in(start_live, nginx, tmp_path):
    live = start_live(iap_audience=None, proxy_header="X-Auth-Request-Email", proxy_secret=SECRET)
    port = free_port()
    server = re.search(r"```nginx\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]
    server = server.replace("8443", f"127.0.0.1:{port}").replace("127.0.0.1:8000", f"127.0.0.1:{live.port}")
    server = server.replace("X-Haystack-Proxy-Secret SECRET", f"X-Haystack-Proxy-Secret {SECRET}")
    (tmp_path / "htpasswd").write_text("ada@example.org:{PLAIN}hunter22\n")
    url = nginx(server, port)
    with httpx.Client(base_url=url, auth=("ada@example.org", "hunter22"), timeout=30, trust_env=False) as ada:
        assert ada.get("/api/v1/me").json() == {"user_email": "ada@example.org", "is_admin": False, "via": "proxy"}
        spoofed = {"X-Auth-Request-Email": "root@example.org", "X-Haystack-Proxy-Secret": "x"}
        assert ada.get("/api/v1/me", headers=spoofed).json()["user_email"] == "ada@example.org"
        rows = {"rows": [{"query": "How would NK cells respond to ibrutinib? " * 40}] * 20}
        told = ada.post("/api/v1/runs/batch", json=rows, headers={"Origin": url}).json()["rows"]
        assert all(row["run"] for row in told), told
        run_id = told[0]["run"]["run_id"]
        live.complete(run_id)
        result = ada.get(f"/api/v1/runs/{run_id}/result").json()
        assert result["report_url"].startswith(url), "links go through the proxy"
        assert ada.get(result["report_url"]).status_code == 200
        assert ada.get("/").status_code == 200
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as nobody:
        assert nobody.get("/api/v1/me", headers=spoofed).status_code == 401
    direct = httpx.get(f"{live.url}/api/v1/me", headers=spoofed, trust_env=False)
    assert direct.status_code == 401


def test_a_careless_proxy_in_front_of_local_mode_lets_nobody_in(start_live, nginx):
    """nginx's default: the upstream's name as Host, so that a request looks local."""
    live = start_live(debug=True)
    port = free_port()
    url = nginx(
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{live.port}; }} }}", port
    )
    assert httpx.get(f"{url}/api/health", trust_env=False).status_code == 200
    assert httpx.get(f"{url}/api/v1/runs/", trust_env=False).status_code == 401
