"""The service keeps to its OpenAPI document, whatever is sent: schemathesis against the service on a real port."""

import subprocess
import sys

import pytest

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,missing_required_header,unsupported_method,ignored_auth"
)
"""all but positive_data_acceptance: a question of spaces, or a language model where there is none, is well formed
by the document and refused with 422"""
SECRET = "s3cret-of-the-proxy-that-nobody-else-knows"
ADA = {"X-Auth-Request-Email": "ada@example.org", "X-Haystack-Proxy-Secret": SECRET}


@pytest.fixture
def live(start_live):
    """With tokens as the only way to sign in that the document describes: what is sent beside a good one is no test."""
    return start_live(iap_audience=None, proxy_header="X-Auth-Request-Email", proxy_secret=SECRET)


def run_schemathesis(live, tmp_path, examples, phases):
    pytest.importorskip("schemathesis")
    with live.client(None, **ADA) as client:
        live.complete(live.submit(client))
        header = f"Authorization: Bearer {client.post('/api/v1/tokens', json={'name': 'checks'}).json()['token']}"
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"{live.url}/api/openapi.json",
        "--header",
        header,
    ]
    command += [
        "--checks",
        CHECKS,
        "--phases",
        phases,
        "--max-examples",
        str(examples),
        "--seed",
        "1",
        "--no-color",
    ]
    command += [
        "--generation-database",
        "none",
        "--suppress-health-check",
        "all",
        "--request-timeout",
        "20",
    ]
    command += ["--tls-verify", "false"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_a_few_examples_of_every_endpoint(live, tmp_path):
    run_schemathesis(live, tmp_path, 3, "examples,fuzzing")


@pytest.mark.nightly
def test_many_examples_and_every_corner(live, tmp_path):
    run_schemathesis(live, tmp_path, 40, "examples,coverage,fuzzing,stateful")


def test_every_endpoint_is_described(live):
    with live.client(None) as client:
        paths = client.get("/api/openapi.json").json()["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert described >= {
        ("POST", "/api/v1/runs/"),
        ("GET", "/api/v1/runs/"),
        ("GET", "/api/v1/runs/{run_id}"),
        ("GET", "/api/v1/runs/{run_id}/result"),
        ("POST", "/api/v1/runs/{run_id}/cancel"),
        ("POST", "/api/v1/runs/validate"),
        ("DELETE", "/api/v1/runs/{run_id}"),
        ("GET", "/api/v1/runs/{run_id}/events"),
        ("POST", "/api/v1/reports/{run_id}"),
        ("GET", "/api/v1/admin/audit"),
        ("GET", "/api/health"),
        *(
            ("GET", f"/api/v1/metadata/{kind}")
            for kind in ["perturbations", "cell-types", "tissues", "donors", "atlases"]
        ),
    }
    for methods in paths.values():
        for operation in methods.values():
            assert operation["summary"]
            for code, answer in operation["responses"].items():
                if code >= "4" and "content" in answer:
                    assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorBody"}
