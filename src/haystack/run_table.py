"""Read `config/runs.tsv`: one question per row, with settings of that row."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haystack.config import Section, Settings, known_keys, load_settings
from haystack.errors import ConfigError, nearest, suggest

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
RUN_ID_RULE = "use letters, digits, '_', '-', at most 63, no path"
SHARED = ("runs", "atlases", "use_atlases", "data_dir", "demo", "model")
"""settings common to all runs of a table: a column of that name is refused"""


@dataclass(frozen=True)
class Run:
    """One row: a question with its effective settings."""

    run_id: str
    query: str
    settings: Settings


def run_identifier(query: str, overrides: dict[str, Any]) -> str:
    """`run_` + 12 hex digits of the hash of the question and the row's own settings.

    Settings of `config.yaml` are left out on purpose: when they change, the run keeps its folder and Snakemake reruns
    just what depends on the change.
    """
    text = json.dumps({"query": query, "settings": overrides}, sort_keys=True, ensure_ascii=False)
    return "run_" + hashlib.sha256(text.encode()).hexdigest()[:12]


def read_runs(config: dict[str, Any], settings: Settings) -> list[Run]:
    """Read and check the table that `settings.runs` names, or holds (text of more than one line).

    Parameters
    ----------
    config
        the settings as given (unvalidated), onto which a row's columns are laid.
    settings
        the same, validated.

    Raises
    ------
    ConfigError
        naming file, line and column.
    """
    given_text = settings.runs if "\n" in settings.runs else None
    path = Path("config: runs" if given_text else settings.runs)
    runs, lines = [], []
    for line, row in _rows(path, given_text):
        runs.append(_run(row, f"{path}, line {line}", config, settings))
        lines.append((line, bool(row.get("run_id", "").strip())))
    if not runs:
        raise ConfigError(f"{path}: no run is listed. Add a line with a query")
    _refuse_twins(runs, lines, path)
    return runs


def _run(row: dict[str, str], where: str, config: dict[str, Any], settings: Settings) -> Run:
    query = row["query"].strip()
    if not query:
        raise ConfigError(f"{where}: the query is empty. Write a question, such as: How would B cells respond to IL-4?")
    overrides = {key: _value(text) for key, text in row.items() if key not in {"run_id", "query"} and text.strip()}
    run_id = row.get("run_id", "").strip() or run_identifier(query, overrides)
    if not RUN_ID.fullmatch(run_id):
        raise ConfigError(f"{where}: run_id '{run_id}' becomes a folder name: {RUN_ID_RULE}")
    effective = load_settings(_overlay(config, overrides, where), where=where) if overrides else settings
    return Run(run_id, query, effective)


def _refuse_twins(runs: list[Run], lines: list[tuple[int, bool]], path: Path) -> None:
    """Refuse rows with the same run_id, ignoring case, which some file systems do not distinguish."""
    first: dict[str, tuple[int, bool]] = {}
    for run, (line, named) in zip(runs, lines, strict=True):
        before, named_before = first.setdefault(run.run_id.lower(), (line, named))
        if before == line:
            continue
        where = f"{path}, lines {before} and {line}"
        if named or named_before:
            raise ConfigError(f"{where}: two runs have the run_id '{run.run_id}'. Every run needs its own")
        raise ConfigError(f"{where}: the same question and settings. Delete one line, or give each a run_id of its own")


SAVE_AS = "Save it as UTF-8 text, tab separated"


def _text(path: Path) -> str:
    """Decode UTF-8, or UTF-16 as in Excel's "Unicode Text"."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file (the table of runs, setting `runs`)") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder, not a table of runs (setting `runs`)") from None
    if content.startswith(b"PK\x03\x04") or content.startswith(b"\xd0\xcf\x11\xe0"):
        raise ConfigError(f"{path}: a spreadsheet, not text. {SAVE_AS}")
    coding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(coding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text. {SAVE_AS}") from None
    if "\0" in text:
        raise ConfigError(f"{path}: not text (it holds zero bytes). {SAVE_AS}")
    return text


def _rows(path: Path, given_text: str | None) -> list[tuple[int, dict[str, str]]]:
    text = given_text or _text(path)
    numbered = enumerate(re.split(r"\r\n|\r|\n", text), 1)
    lines = [(n, line) for n, line in numbered if line.strip() and not line.startswith("#")]
    if not lines:
        raise ConfigError(f"{path}: empty. The first line names the columns: run_id, query (tab between)")
    table = [(n, [_cell(cell, f"{path}, line {n}") for cell in line.split("\t")]) for n, line in lines]
    header = [name.strip() for name in table[0][1]]
    while header and not header[-1]:  # spreadsheets pad lines with tabs
        header.pop()
    _check_header(header, f"{path}, line {lines[0][0]}")
    rows = []
    for number, cells in table[1:]:
        if any(cell.strip() for cell in cells[len(header) :]):
            raise ConfigError(
                f"{path}, line {number}: {len(cells)} columns, the header has {len(header)}. "
                "A tab inside a question? Replace it by a space"
            )
        rows.append((number, dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=False))))
    return rows


def _cell(text: str, where: str) -> str:
    """Remove the quotation marks that spreadsheets add around a cell, keeping those of the question."""
    if re.fullmatch(r'"(?:[^"]|"")*"', text):
        return text[1:-1].replace('""', '"')
    if text.startswith('"') and text.count('"') % 2:
        raise ConfigError(f"{where}: a quotation mark is not closed. A question is one line, without line breaks")
    return text


def _check_header(header: list[str], where: str) -> None:
    if "query" not in header:
        if len(header) == 1 and (mark := next((mark for mark in ",;|" if mark in header[0]), None)):
            raise ConfigError(f"{where}: columns are separated by '{mark}', expected tabs. {SAVE_AS}")
        raise ConfigError(f"{where}: no column 'query' (found: {', '.join(header)}).{_near('query', header)}")
    for name, count in Counter(header).items():
        if count > 1:
            raise ConfigError(f"{where}: column '{name}' stands twice. Remove one")
        if name in {"run_id", "query"}:
            continue
        if not name:
            raise ConfigError(f"{where}: column {header.index(name) + 1} has no name. Name it, or remove it")
        if name.split(".")[0] in SHARED:
            raise ConfigError(f"{where}: '{name}' is shared by all runs; set it in the config file, not in a column")
        section: type[Section] = Settings
        *parents, key = name.split(".")
        if key not in known_keys(section, parents) or (parents and parents[0] not in Settings.model_fields):
            allowed = [field for field in Settings.model_fields if field not in SHARED]
            raise ConfigError(f"{where}: unknown column '{name}'.{suggest(name, ['run_id', 'query', *allowed])}")


def _near(name: str, header: list[str]) -> str:
    near = nearest(name, header, 1)
    return f" Rename '{near[0]}' to '{name}'" if near else " The first line names the columns: run_id, query"


def _value(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text.strip()


def _overlay(config: dict[str, Any], overrides: dict[str, Any], where: str) -> dict[str, Any]:
    merged = json.loads(json.dumps(config, default=lambda value: value.model_dump(mode="json")))
    for name, value in overrides.items():
        *parents, key = name.split(".")
        section = merged
        for part in parents:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise ConfigError(f"{where}: column '{name}': '{part}' holds no settings")
        section[key] = value
    return merged
