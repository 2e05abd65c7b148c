"""Whatever judges predictions must not know the truth of the simulation."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "src" / "haystack"
SECRETS = ("programmes.yaml", "layouts.yaml")
MAY_IMPORT = {"demo"}


def imported(source: str) -> Iterator[str]:
    """Dotted names that a module imports, also by string (importlib, lazy tables)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{alias.name}" for alias in node.names)
            yield node.module or ""
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            yield node.value


def leaks(source: str) -> list[str]:
    names = [name for name in imported(source) if name.startswith(("haystack.demo", ".demo"))]
    return names + [secret for secret in SECRETS if secret in source]


@pytest.mark.parametrize(
    "source",
    [
        "import haystack.demo",
        "from haystack import demo",
        "from haystack.demo.world import load_world",
        "def f():\n    from haystack.demo import true_response",
        "import importlib\nimportlib.import_module('haystack.demo.truth')",
        "open('src/haystack/demo/programmes.yaml')",
    ],
)
def test_the_check_finds_leaks(source):
    assert leaks(source)


def test_no_other_package_reads_the_truth():
    modules = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in MAY_IMPORT]
    assert len(modules) > 10
    found = {str(path.relative_to(PACKAGE)): leaks(path.read_text(encoding="utf-8")) for path in modules}
    assert {path: leak for path, leak in found.items() if leak} == {}


def test_only_the_demo_rule_runs_it():
    scripts = (ROOT / "workflow" / "scripts").glob("*.py")
    assert [path.name for path in scripts if leaks(path.read_text(encoding="utf-8"))] == ["simulate_atlas.py"]
    rules = [*(ROOT / "workflow" / "rules").glob("*.smk"), ROOT / "workflow" / "Snakefile"]
    for path in rules:
        text = path.read_text(encoding="utf-8")
        assert "haystack.demo" not in text
        assert not any(secret in text for secret in SECRETS), path
