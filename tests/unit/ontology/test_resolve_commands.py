"""`haystack resolve` and `resolve-file`, and OLS on a loopback server."""

import argparse
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest

from haystack.errors import OntologyError
from haystack.ontology.commands import add_commands
from haystack.ontology.ols import search_ols


def run(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(required=True))
    args = parser.parse_args(argv)
    return int(args.run(args))


def test_resolve_prints_a_list_best_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("resolve", "cell-type", "CD14 Mono", "--top", "2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found[0]) == {"id", "name", "score", "method"}
    assert found[0]["id"] == "CL:0001054"
    assert len(found) <= 2


def test_resolve_prints_an_empty_list_when_nothing_is_claimed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("resolve", "tissue", "unicorn", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_resolve_perturbation(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("resolve", "perturbation", "IFNg", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "IFN-gamma"


def test_resolve_file_keeps_order_repeats_and_unclaimed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "labels.tsv"
    table.write_text("n\tlabel\n1\tTreg\n2\tfoo bar\n3\tTreg\n", encoding="utf-8")
    assert run("resolve-file", str(table), "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["label"], row["id"]) for row in rows] == [
        ("Treg", "CL:0000815"),
        ("foo bar", None),
        ("Treg", "CL:0000815"),
    ]
    assert set(rows[0]) == {"label", "id", "name", "score", "method", "candidates"}
    assert rows[0]["candidates"][0]["id"] == rows[0]["id"]
    assert rows[1]["candidates"] == []


def test_resolve_file_takes_a_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "labels.tsv"
    table.write_text("label\nlungs\n", encoding="utf-8")
    assert run("resolve-file", str(table), "--kind", "tissue", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["id"] == "UBERON:0002048"


@pytest.mark.parametrize(
    ("text", "message"), [("name\nTreg\n", "no column 'label'; found name"), ("", "an empty file")]
)
def test_a_table_without_labels_is_refused(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "labels.tsv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(OntologyError, match=message):
        run("resolve-file", str(table))


def test_missing_and_binary_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OntologyError, match="no such file"):
        run("resolve-file", str(tmp_path / "absent.tsv"))
    (tmp_path / "binary.tsv").write_bytes(b"\xff\xfe\x00label")
    with pytest.raises(OntologyError, match="UTF-8"):
        run("resolve-file", str(tmp_path / "binary.tsv"))


class FakeOls(BaseHTTPRequestHandler):
    """Answers as OLS4's search does; the query `broken` gets nonsense."""

    def do_GET(self) -> None:
        asked = parse_qs(urlparse(self.path).query)
        docs = [
            {"obo_id": "CL:0000236", "label": "B cell"},
            {"obo_id": "CL:9999999", "label": "not in the pinned ontology"},
            {"label": "no id"},
        ]
        body = {"response": {"docs": docs}} if asked["q"] != ["broken"] else {"unexpected": 1}
        assert asked["ontology"] == ["cl"]
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def ols() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), FakeOls)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api/search"
    server.shutdown()
    server.server_close()
    thread.join()


def test_ols_answers_only_with_terms_of_the_pinned_ontology(ols: str) -> None:
    found = search_ols("cell-type", "b cells", url=ols)
    assert [(match.id, match.method) for match in found] == [("CL:0000236", "ols")]
    assert found[0].score <= 0.9


def test_ols_trouble_is_a_typed_error(ols: str) -> None:
    with pytest.raises(OntologyError, match="OLS"):
        search_ols("cell-type", "broken", url=ols)
