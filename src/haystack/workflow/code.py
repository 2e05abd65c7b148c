"""Hashes of the code that a rule runs: Snakemake does not notice that an imported module changed."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
UNHASHED = {"config", "errors", "files", "__init__"}
"""modules whose edits change no result: settings arrive as params, the others only carry words and bytes"""
RESOURCES = {"ontology", "knowledge"}
"""packages that read `resources/{package}` by themselves (tables named in the config are inputs of their rules)"""


@cache
def code_hash(*packages: str) -> str:
    """First 12 hex digits of the SHA-256 over the named packages, all they import, and the tables they read."""
    wanted = sorted(_closure(packages))
    digest = hashlib.sha256()
    for name in wanted:
        for path in [*_modules(name), *_data(name)]:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


@cache
def package_hash() -> str:
    """First 12 hex digits of the SHA-256 over all modules, templates, tables: equal on all machines of a run."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in {".py", ".pyi", ".j2", ".js", ".css"} and not {"_resources", "__pycache__"} & set(path.parts):
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    for path in (path for name in sorted(RESOURCES) for path in _data(name)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _closure(packages: Sequence[str]) -> set[str]:
    found: set[str] = set()
    todo = list(packages)
    while todo:
        name = todo.pop()
        if name not in found and name not in UNHASHED:
            found.add(name)
            todo.extend(_imports(name))
    return found


@cache
def _imports(package: str) -> frozenset[str]:
    names = set()
    for path in _modules(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("haystack"):
                parts = node.module.split(".")
                names.update([parts[1]] if len(parts) > 1 else [alias.name for alias in node.names])
            elif isinstance(node, ast.Import):
                names.update(a.name.split(".")[1] for a in node.names if a.name.startswith("haystack."))
    return frozenset(name for name in names if _modules(name))


def _modules(package: str) -> list[Path]:
    """Modules of a package, but for its command line, which the pipeline does not use."""
    folder = PACKAGE / package
    if folder.is_dir():
        return sorted(path for path in folder.rglob("*.py") if path.name != "commands.py")
    module = PACKAGE / f"{package}.py"
    return [module] if module.exists() else []


def _resources() -> Path:
    """`resources/` of the checkout, or its copy in an installed package: the same files, and the same hash."""
    checkout = PACKAGE.parents[1] / "resources"
    return checkout if checkout.is_dir() else PACKAGE / "_resources"


def _data(package: str) -> list[Path]:
    """Templates and tables inside a package, and the tracked tables that it reads by itself."""
    folders = [PACKAGE / package]
    if package in RESOURCES:
        folders.append(_resources() / package)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    # __pycache__ also holds what numba compiles at run time
    return sorted(path for path in files if path.suffix not in {".py", ".md"} and "__pycache__" not in path.parts)
