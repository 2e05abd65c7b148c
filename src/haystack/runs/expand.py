"""Perturbation lists become tables of runs: "every cytokine of the Parse atlas on hepatocytes"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from haystack.errors import ConfigError, HaystackError, suggest
from haystack.report.words import plural
from haystack.run_table import RUN_ID

QUESTION = "How would {cell_types} respond to {perturbation}?"
HEADER = ("run_id", "query")


@dataclass(frozen=True)
class Expansion:
    """Rows for `config/runs.tsv`, and what could not become one."""

    rows: list[tuple[str, str]]
    """run_id, question"""
    left_out: dict[str, str]
    """question -> why"""


def expand(perturbations: Sequence[str], cell_types: Sequence[str], question: str = QUESTION) -> Expansion:
    """One question for each cell type and perturbation, in the order given.

    Every question is parsed as a run would parse it. One that would not be understood as it was meant is left out and
    named, so that a long table does not hold questions that ask something else.

    Parameters
    ----------
    perturbations
        names, as the knowledge tables or an atlas write them.
    cell_types
        labels or names of the Cell Ontology.
    question
        with `{cell_type}` (as given) or `{cell_types}` (plural), and `{perturbation}`.

    Raises
    ------
    ConfigError
        when a cell type is not known, or `question` lacks a placeholder.
    """
    for placeholders in (("{cell_types}", "{cell_type}"), ("{perturbation}",)):
        if not any(placeholder in question for placeholder in placeholders):
            raise ConfigError(f"--question '{question}': {placeholders[0]} is missing. The default is '{QUESTION}'")
    for cell_type in cell_types:
        _check_cell_type(cell_type)
    rows: list[tuple[str, str]] = []
    left_out: dict[str, str] = {}
    taken: set[str] = set()
    for cell_type in dict.fromkeys(cell_types):
        for perturbation in dict.fromkeys(perturbations):
            text, problem = _ask(question, cell_type, perturbation)
            if problem:
                left_out[text] = problem
            else:
                rows.append((_identifier(cell_type, perturbation, taken), text))
    return Expansion(rows, left_out)


def _ask(question: str, cell_type: str, perturbation: str) -> tuple[str, str | None]:
    """The question, and why it would not be read as it is meant; the cell type as given where its plural misleads."""
    asked = question.replace("{cell_type}", cell_type).replace("{perturbation}", perturbation)
    text = asked.replace("{cell_types}", plural(cell_type))
    problem = _misread(text, cell_type, perturbation)
    if problem is None or "{cell_types}" not in question:
        return text, problem
    as_given = asked.replace("{cell_types}", cell_type)
    return (text, problem) if _misread(as_given, cell_type, perturbation) else (as_given, None)


def known_perturbations(kind: str | None = None) -> list[str]:
    """Names of the knowledge tables; `kind` is cytokine or drug, null means all."""
    from haystack.knowledge import perturbations

    return [item.name for item in perturbations() if kind in {None, item.type}]


def atlas_perturbations(atlas: str, index: Path, kind: str | None = None) -> list[str]:
    """Names of the perturbations that cells of an atlas show, by the cell index.

    Raises
    ------
    ConfigError
        when there is no index, or the atlas is not in it.
    """
    from haystack.contracts import CELL_SETS, read_table

    path = index / "cell_sets.parquet"
    if not path.exists():
        raise ConfigError(f"{path}: no such file. Make it first: snakemake --profile profiles/local {path}")
    table = read_table(path, CELL_SETS)
    if atlas not in set(table["atlas"]):
        known = sorted(set(table["atlas"]))
        raise ConfigError(f"--atlas '{atlas}': not in {path}.{suggest(atlas, known)}")
    shown = table[(table["atlas"] == atlas) & ~table["is_control"] & table["perturbation_name"].notna()]
    if kind:
        shown = shown[shown["perturbation_type"] == kind]
    return sorted(set(shown["perturbation_name"]), key=str.casefold)


def read_list(path: Path) -> list[str]:
    """Names of a text file, one per line; empty lines and `#` comments are skipped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file (a list of perturbations, one per line)") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text: {error}") from None
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def write_rows(rows: Iterable[tuple[str, str]], path: Path) -> int:
    """Add rows to a table of runs, which is made where it is absent; rows that it has already are skipped.

    Returns
    -------
    int
        rows added.

    Raises
    ------
    ConfigError
        when the table lacks the columns run_id and query, or has a run of that id with another question.
    """
    from haystack.files import write_text

    text = path.read_text(encoding="utf-8-sig") if path.exists() else "\t".join(HEADER) + "\n"
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    header = [name.strip() for name in lines[0].split("\t")] if lines else []
    if not set(HEADER) <= set(header):
        raise ConfigError(f"{path}: rows can be added only to a table with the columns run_id and query")
    position = {name: header.index(name) for name in HEADER}
    present = {}
    for line in lines[1:]:
        cells = line.split("\t") + [""] * len(header)
        present[cells[position["run_id"]].strip().lower()] = cells[position["query"]].strip()
    added = []
    for run_id, question in rows:
        there = present.get(run_id.lower())
        if there is None:
            cells = [""] * len(header)
            cells[position["run_id"]], cells[position["query"]] = run_id, question
            added.append("\t".join(cells))
        elif there != question:
            raise ConfigError(f"{path}: run_id '{run_id}' is taken by another question: {there}")
    if added or not path.exists():
        write_text(path, text.rstrip("\n") + "\n" + "".join(line + "\n" for line in added))
    return len(added)


def _check_cell_type(label: str) -> None:
    from haystack.ontology import resolve

    if not resolve("cell-type", label):
        raise ConfigError(f"--cell-type '{label}': no such cell type. Try: haystack resolve cell-type '{label}'")


def _misread(text: str, cell_type: str, perturbation: str) -> str | None:
    """Why the parsed question is not the one that was meant; null if it is."""
    from haystack.knowledge import resolve_perturbation
    from haystack.ontology import resolve
    from haystack.query import parse_question

    try:
        parsed = parse_question(text, offline=True)
    except HaystackError as error:
        return str(error).replace("\n", " ")
    meant = resolve_perturbation(perturbation)
    name = meant.name if meant else perturbation
    main, cells = parsed.asked.perturbation, parsed.asked.cells
    if main is None or not main.resolved:
        return f"'{perturbation}' is not known as a perturbation"
    if main.name.casefold() != name.casefold() or len(parsed.asked.perturbations) > 1:
        return f"'{perturbation}' would be read as '{main.name}'"
    if cells.cl_id != resolve("cell-type", cell_type)[0].id:
        return f"'{cell_type}' would be read as '{cells.name}'"
    return None


def _identifier(cell_type: str, perturbation: str, taken: set[str]) -> str:
    """A readable run_id; a number is added where two names would give the same folder."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", f"{cell_type}-{perturbation}").strip("_-")[:58] or "run"
    found, number = plain, 2
    while found.lower() in taken or not RUN_ID.fullmatch(found):
        found, number = f"{plain}-{number}" if plain[0].isalnum() else f"run_{plain}-{number}", number + 1
    taken.add(found.lower())
    return found
