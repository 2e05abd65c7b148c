"""Hashes of the code that a rule runs: Snakemake does not notice that an imported module changed.

The hash of a rule covers the modules that its entry function reaches, by their meaning: the syntax tree without
comments, docstrings and formatting. A module that is imported anywhere in a reached one, inside functions too, is
reached. A package is not: of its `__init__` (and the `.pyi` stub of a lazy one) only the names that are asked for are
followed. Tables and templates that a reached module names count by content. A registry stands for all its built-in
modules and its plug-ins.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parent
UNHASHED = ("haystack.config", "haystack.errors", "haystack.files", "haystack.internals")
"""modules whose edits change no result: settings arrive as params, others carry words and bytes, or find libraries"""
DATA_FILE = re.compile(r"[\w./*-]+\.\w{2,5}(\.gz)?")
MODULE_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+(:[A-Za-z_]\w*)?")

Name = tuple[str, str | None]
"""a module, and what is used of it: a name, `*` (all that a package exports), `__path__` (all modules below it), or
`*GROUP` (these and the plug-ins of a group of entry points)"""


class Source(NamedTuple):
    """What the text of one module says, whatever other modules hold."""

    digest: str
    """of the syntax tree; of an `__init__`, without its imports"""
    uses: list[Name]
    exports: dict[str, Name]
    """names that importing modules may ask of an `__init__`, and where they come from; registries of any module"""
    data: list[str]
    """glob patterns of files that it may read"""
    words: list[str]
    """strings that look like a module"""


@cache
def code_hash(*entries: str) -> str:
    """First 12 hex digits of the SHA-256 over all that the functions `entries` (`haystack.loop.decide`) reach."""
    digest = hashlib.sha256()
    for name, content in sorted(reached(*entries).items()):
        digest.update(f"{name}\0{content}\0".encode())
    return digest.hexdigest()[:12]


def reached(*entries: str) -> dict[str, str]:
    """Digests of the modules (by name) and files (by path) that the functions `entries` reach."""
    found: dict[str, str] = {}
    seen: set[Name] = set()
    todo: list[Name] = [_split(entry) for entry in entries]
    for entry, (module, function) in zip(entries, todo, strict=True):
        path = _file(module)
        if path is None or not function or (function not in _source(module).exports and not _defines(path, function)):
            raise LookupError(f"{entry}: no function of a module")
    while todo:
        use = todo.pop()
        if use in seen:
            continue
        seen.add(use)
        for module in _modules(use, todo):
            if module not in found:
                source = _source(module)
                found[module] = source.digest
                todo += [*source.uses, *_named(source.words)]
                found |= _data(module)
    _cache().save()
    return found


@cache
def package_hash() -> str:
    """First 12 hex digits of the SHA-256 over all modules, templates, tables: equal on all machines of a run."""
    digest = hashlib.sha256()
    code = [path for path in PACKAGE.rglob("*") if path.suffix in {".py", ".pyi", ".j2", ".js", ".css"}]
    tables = [path for name in ("knowledge", "ontology") for path in _files(_resources() / name)]
    for root, paths in ((PACKAGE, code), (_resources(), tables)):
        for path in sorted(paths):
            name = path.relative_to(root)
            if not {"_resources", "__pycache__"} & set(name.parts):
                digest.update(name.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


# -- from names to modules -------------------------------------------------------------------------------------------


def _modules(use: Name, todo: list[Name]) -> Iterator[str]:
    """Modules that a use of a name runs; names that a package only hands on are put to what is still to do."""
    module, name = use
    path = _file(module)
    if path is None or module.startswith(UNHASHED):
        return
    yield from _parents(module)
    yield module
    if name is None:
        return
    if name == "__path__" or name.startswith("*haystack."):
        todo += [(f"{module}.{found.stem}", "__path__") for found in path.parent.iterdir() if _is_code(found)]
        todo += [(plugin, "*") for plugin in _plugins().get(name[1:], [])]
    elif name == "*":
        todo += _source(module).exports.values()
    elif _file(f"{module}.{name}"):
        todo.append((f"{module}.{name}", None))
    elif name in (exports := _source(module).exports):
        todo.append(exports[name])


def _defines(path: Path, function: str) -> bool:
    return f"\ndef {function}(" in path.read_text(encoding="utf-8")


def _parents(module: str) -> Iterator[str]:
    parts = module.split(".")
    yield from (".".join(parts[:n]) for n in range(1, len(parts)))


def _is_code(path: Path) -> bool:
    return (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()


def _split(dotted: str) -> Name:
    """The longest part that is a module, and the name after it."""
    dotted = dotted.replace(":", ".")
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        if _file(".".join(parts[:n])):
            return ".".join(parts[:n]), parts[n] if n < len(parts) else None
    return dotted, None


def _named(words: Iterable[str]) -> Iterator[Name]:
    """Modules that are named by strings."""
    return (use for use in map(_split, words) if _file(use[0]))


@cache
def _plugins() -> dict[str, list[str]]:
    """Group of entry points -> modules of its plug-ins."""
    points = importlib.metadata.entry_points()
    return {group: [p.module for p in points.select(group=group)] for group in points.groups if "haystack." in group}


@cache
def _root(top: str) -> Path | None:
    """Where a top-level package of ours or of a plug-in lies (a single module: without `.py`); nothing is imported."""
    if top == "haystack":
        return PACKAGE
    if not any(top == module.split(".")[0] for modules in _plugins().values() for module in modules):
        return None
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
    return Path(spec.origin.removesuffix("__init__.py").removesuffix(".py"))


@cache
def _file(module: str) -> Path | None:
    """The file of a module of ours or of a plug-in; a package's is its `__init__`."""
    top, *rest = module.split(".")
    root = _root(top)
    if root is None:
        return None
    place = root.joinpath(*rest)
    found = [place / "__init__.py", place.with_name(f"{place.name}.py")]
    return next((path for path in found if path.is_file()), None)


# -- files -----------------------------------------------------------------------------------------------------------


def _resources() -> Path:
    """`resources/` of the checkout, or its copy in an installed package: the same files, and the same hash."""
    checkout = PACKAGE.parents[1] / "resources"
    return checkout if checkout.is_dir() else PACKAGE / "_resources"


@cache
def _data(module: str) -> dict[str, str]:
    """Digests of the tables and templates that a module reads: beside it, in `resources/`, in a package."""
    path, source, resources = _file(module), _source(module), _resources()
    assert path is not None
    packages = [found.parent for word in source.words if (found := _file(word)) and found.stem == "__init__"]
    places = [(package, package.parent) for package in packages]
    for root, top in ((path.parent, path.parents[1]), (resources, resources)):
        places += [(place, top) for name in source.data for place in root.glob(name.removeprefix("resources/"))]
    return {file.relative_to(top).as_posix(): _content(file) for place, top in places for file in _files(place)}


def _files(place: Path) -> list[Path]:
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    # __pycache__ also holds what numba compiles at run time
    return [path for path in files if path.suffix not in {".py", ".pyi", ".md"} and "__pycache__" not in path.parts]


@cache
def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -- reading a module ------------------------------------------------------------------------------------------------


class _Cache:
    """What modules say, by the content of their text, kept beside the bytecode: reading all of them takes seconds."""

    def __init__(self) -> None:
        self.path = PACKAGE / "__pycache__/codehash.json"
        self.own = _content(Path(__file__))
        self.new = False
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            self.known: dict[str, Any] = kept["known"] if kept["own"] == self.own else {}
        except (OSError, ValueError, KeyError, TypeError):
            self.known = {}

    def save(self) -> None:
        if not self.new:
            return
        self.new = False
        beside = self.path.with_suffix(f".{os.getpid()}")
        try:
            self.path.parent.mkdir(exist_ok=True)
            beside.write_text(json.dumps({"own": self.own, "known": self.known}), encoding="utf-8")
            beside.replace(self.path)
        except OSError:  # a package that is not ours to write to: read anew at every start
            beside.unlink(missing_ok=True)


@cache
def _cache() -> _Cache:
    return _Cache()


@cache
def _source(module: str) -> Source:
    path = _file(module)
    assert path is not None
    text = path.read_bytes()
    stub = path.with_suffix(".pyi")
    stubs = stub.read_bytes() if path.stem == "__init__" and stub.is_file() else b""
    key = hashlib.sha256(b"\0".join((module.encode(), text, stubs))).hexdigest()
    memory = _cache()
    if key not in memory.known:
        memory.known[key] = _read(module, path.stem == "__init__", text, stubs)
        memory.new = True
    digest, uses, exports, data, words = memory.known[key]
    return Source(
        digest, [(use[0], use[1]) for use in uses], {k: (v[0], v[1]) for k, v in exports.items()}, data, words
    )


def _read(module: str, is_package: bool, text: bytes, stubs: bytes) -> Source:
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    if b"__doc__" not in text and b"use_attribute_docstrings" not in text:
        _remove_docs(nodes)
    package = module if is_package else module.rpartition(".")[0]
    exports: dict[str, Name] = {}
    used: list[tuple[str, Name]] = []
    if is_package:
        top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        exports = dict([*_imports(ast.parse(stubs).body, package), *_imports(top, package)])
        tree.body = [node for node in tree.body if node not in top and not _is_dunder(node)]
        nodes = list(ast.walk(tree))
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        used = [(key, name) for key, name in exports.items() if key in names]
    bound = [*used, *_imports(nodes, package)]
    uses = {name for _, name in bound} | set(_asked_of_packages(nodes, dict(bound)))
    registries, used_here = _registries(tree)
    exports |= registries
    uses |= used_here
    if any(isinstance(node, ast.Name) and node.id == "__path__" for node in nodes):
        uses.add((package, "__path__"))
    ours = {"haystack", module.split(".")[0]}
    kept = sorted((use for use in uses if use[0].split(".")[0] in ours), key=str)
    data, words = _strings(nodes)
    return Source(_meaning(tree), kept, exports, sorted(data), sorted(words))


def _remove_docs(nodes: list[ast.AST]) -> None:
    """Take out strings that stand alone: docstrings of modules, classes, functions and attributes."""
    for node in nodes:
        if isinstance(body := getattr(node, "body", None), list):
            kept = [item for item in body if not _is_doc(item)]
            node.body = kept  # type: ignore[attr-defined]


def _is_dunder(node: ast.stmt) -> bool:
    """Whether it sets `__all__`, `__version__` or what lazy_loader attaches, none of which changes a result."""
    return isinstance(node, ast.Assign) and all(
        name.id.startswith("__") for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name)
    )


def _imports(nodes: Sequence[ast.AST], package: str) -> Iterator[tuple[str, Name]]:
    """Bound name -> what it stands for; `*` is bound to a name of its own. Imports for types alone are left out."""
    for_types = [node for node in nodes if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    skipped = {id(child) for node in for_types for statement in node.body for child in ast.walk(statement)}
    for node in nodes:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.split(".")[0], (alias.name, None)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield alias.asname or (f"*{source}" if alias.name == "*" else alias.name), (source, alias.name)


def _asked_of_packages(nodes: Sequence[ast.AST], bound: dict[str, Name]) -> Iterator[Name]:
    """What is asked of packages that were imported as such (`ontology.resolve`); all, of one that is handed on."""
    whole = {key: f"{name[0]}.{name[1]}" if name[1] else name[0] for key, name in bound.items()}
    asked = set()
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in whole:
            asked.add(id(node.value))
            yield whole[node.value.id], node.attr
        elif isinstance(node, ast.Name) and node.id in whole and id(node) not in asked:
            yield whole[node.id], "*"


def _registries(tree: ast.Module) -> tuple[dict[str, Name], set[Name]]:
    """Registries, and functions that use one, by name: asking for a name reaches that registry and no other.

    The second part is what the module uses whatever is asked of it. A registry is
    `MODELS = Registry("models", ModelSpec, "haystack.inference.models")`.
    """
    found: dict[str, Name] = {}
    others: list[ast.stmt] = []
    for node in tree.body:
        value = getattr(node, "value", None)
        if isinstance(node, ast.Assign) and isinstance(value, ast.Call) and _called(value) == "Registry":
            kind, _, package = value.args
            found[ast.unparse(node.targets[0])] = (_pattern(package), f"*haystack.{_pattern(kind)}")
        else:
            others.append(node)
    used: set[Name] = set()
    for node in others if found else ():
        asked = {found[name.id] for name in ast.walk(node) if isinstance(name, ast.Name) and name.id in found}
        if isinstance(node, ast.FunctionDef) and len(asked) == 1:
            found[node.name] = asked.pop()
        used |= asked
    return found, used


def _strings(nodes: Sequence[ast.AST]) -> tuple[set[str], set[str]]:
    """Strings that may name files (as glob patterns), and those that may name modules."""
    data, words, given = set(), set(), set()
    for node in nodes:
        if isinstance(node, ast.Call) and _called(node) == "resource" and node.args:
            given.add(_pattern(node.args[0]))
        elif isinstance(node, (ast.JoinedStr, ast.Constant)):
            data.add(text := _pattern(node))
            words.add(text)
    data = {text for text in data if DATA_FILE.fullmatch(text) and not text.startswith(("/", "*", "."))}
    return (data | given) - {""}, {text for text in words if MODULE_NAME.fullmatch(text)}


def _called(node: ast.Call) -> str | None:
    """Name of a called function, without what it is an attribute of."""
    return getattr(node.func, "attr", getattr(node.func, "id", None))


def _pattern(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _meaning(tree: ast.Module) -> str:
    out: list[str] = []
    _write(tree, out)
    return hashlib.sha256("".join(out).encode()).hexdigest()[:16]


def _write(node: Any, out: list[str]) -> None:
    """Append the syntax tree as text: equal on all versions of Python, without places in the file."""
    if isinstance(node, ast.AST):
        out.append(f"({type(node).__name__}")
        for field in node._fields:
            value = getattr(node, field, None)
            if value is not None and value != [] and field not in {"ctx", "kind", "type_comment"}:
                out.append(f" {field}=")
                _write(value, out)
        out.append(")")
    elif isinstance(node, list):
        for item in node:
            _write(item, out)
    else:
        out.append(repr(node))


def _is_doc(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
