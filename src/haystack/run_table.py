"""`config/runs.tsv`: one question per row, with settings that hold for that row only."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haystack.config import Section, Settings, known_keys, load_settings
from haystack.errors import ConfigError, suggest

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
SHARED = ("runs", "atlases", "use_atlases", "data_dir", "demo", "model")
"""settings that all runs of one table share: a column of that name is refused"""


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
    runs = []
    for line, row in _rows(path, given_text):
        where = f"{path}, line {line}"
        query = (row.pop("query") or "").strip()
        if not query:
            raise ConfigError(
                f"{where}: the query is empty. Write a question, such as: How would B cells respond to IL-4?"
            )
        given = (row.pop("run_id", "") or "").strip()
        overrides = {key: _value(text) for key, text in row.items() if (text or "").strip()}
        run_id = given or run_identifier(query, overrides)
        if not RUN_ID.fullmatch(run_id):
            raise ConfigError(
                f"{where}: run_id '{run_id}' becomes a folder name: use letters, digits, '_', '-', at most 63, no path"
            )
        effective = load_settings(_overlay(config, overrides, where), where=where) if overrides else settings
        runs.append(Run(run_id, query, effective))
    if not runs:
        raise ConfigError(f"{path}: no run is listed. Add a line with a query")
    counts = Counter(run.run_id.lower() for run in runs)
    for run in runs:
        if counts[run.run_id.lower()] > 1:
            raise ConfigError(f"{path}: two runs have the run_id '{run.run_id}'. Every run needs its own")
    return runs


def _rows(path: Path, given_text: str | None) -> list[tuple[int, dict[str, str]]]:
    try:
        text = given_text or path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file (the table of runs, setting `runs`)") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text: {error}") from None
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    if not lines:
        raise ConfigError(f"{path}: empty. The first line names the columns: run_id, query (tab between)")
    numbers, kept = zip(*lines, strict=True)
    # No quoting: a question may hold quotation marks, and a tab always separates.
    table = list(csv.reader(kept, delimiter="\t", quoting=csv.QUOTE_NONE))
    header = [name.strip() for name in table[0]]
    _check_header(header, path)
    rows = []
    for number, cells in zip(numbers[1:], table[1:], strict=True):
        if len(cells) > len(header):
            raise ConfigError(f"{path}, line {number}: {len(cells)} columns, the header has {len(header)}")
        rows.append((number, dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))))
    return rows


def _check_header(header: list[str], path: Path) -> None:
    if "query" not in header:
        raise ConfigError(f"{path}: no column 'query' (columns are separated by tabs; found: {', '.join(header)})")
    for name, count in Counter(header).items():
        if count > 1:
            raise ConfigError(f"{path}: column '{name}' stands twice")
        if name in {"run_id", "query"}:
            continue
        if name.split(".")[0] in SHARED:
            raise ConfigError(f"{path}: '{name}' is shared by all runs; set it in the config file, not in a column")
        section: type[Section] = Settings
        *parents, key = name.split(".")
        if key not in known_keys(section, parents) or (parents and parents[0] not in Settings.model_fields):
            allowed = [field for field in Settings.model_fields if field not in SHARED]
            raise ConfigError(f"{path}: unknown column '{name}'.{suggest(name, ['run_id', 'query', *allowed])}")


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
