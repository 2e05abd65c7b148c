"""`haystack resolve` and `haystack resolve-file`."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

from haystack.errors import OntologyError

KINDS = ("cell-type", "tissue", "disease", "chemical", "perturbation")


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add both commands."""
    one = subparsers.add_parser("resolve", help="resolve a name to ontology terms or perturbations, best first")
    one.add_argument("kind", choices=KINDS, help="what the text names")
    one.add_argument("text", help="a label, synonym or identifier")
    _options(one)
    one.add_argument("--online", action="store_true", help="query OLS (EMBL-EBI) if nothing matches offline")
    one.set_defaults(run=_resolve)
    many = subparsers.add_parser("resolve-file", help="resolve a table of labels to ontology terms")
    many.add_argument("file", type=Path, help="tab-separated, with a column `label`")
    many.add_argument("--kind", choices=KINDS, default="cell-type", help="what the labels name (default cell-type)")
    _options(many)
    many.set_defaults(run=_resolve_file)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--top", type=int, default=5, metavar="N", help="at most N candidates (default 5)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _resolve(args: argparse.Namespace) -> int:
    found = _candidates(args.kind, args.text, args.top)
    if not found and args.online and args.kind != "perturbation":
        from haystack.ontology.ols import search_ols

        found = [match.as_dict() for match in search_ols(args.kind, args.text, args.top)]
    if args.json:
        _print_json(found)
    else:
        for item in found:
            print("\t".join(str(item[name]) for name in ("id", "name", "score", "method")))
        if not found:
            print(f"nothing is claimed for '{args.text}'", file=sys.stderr)
    return 0


def _resolve_file(args: argparse.Namespace) -> int:
    rows = []
    seen: dict[str, list[dict[str, Any]]] = {}
    for label in _labels(args.file):
        if label not in seen:
            seen[label] = _candidates(args.kind, label, args.top)
        candidates = seen[label]
        best = candidates[0] if candidates else {"id": None, "name": None, "score": None, "method": None}
        rows.append({"label": label, **best, "candidates": candidates})
    if args.json:
        _print_json(rows)
    else:
        for row in rows:
            print("\t".join("" if row[k] is None else str(row[k]) for k in ("label", "id", "name", "score", "method")))
    return 0


def _labels(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise OntologyError(f"{path}: no such file") from None
    except (UnicodeDecodeError, OSError) as error:
        raise OntologyError(f"{path}: not a text file in UTF-8 ({error})") from None
    lines = text.splitlines()
    header = next(csv.reader(lines[:1], delimiter="\t"), [])
    if "label" not in header:
        raise OntologyError(f"{path}: no column 'label'; found {', '.join(header) or 'an empty file'} (tab-separated)")
    return [row["label"] or "" for row in csv.DictReader(lines, delimiter="\t")]


def _candidates(kind: str, text: str, top: int) -> list[dict[str, Any]]:
    if top < 1:
        raise OntologyError(f"--top {top}: must be at least 1")
    if kind == "perturbation":
        return _perturbations(text, top)
    from haystack.ontology.resolver import resolve

    return [match.as_dict() for match in resolve(kind, text, top)]


def _perturbations(text: str, top: int) -> list[dict[str, Any]]:
    # Knowledge stands above ontology in the house: only this command, at run time, reaches up to it.
    from importlib import import_module

    read = import_module("haystack.knowledge").resolve_label
    # A label of an atlas; a bare gene counts here, because what it names is asked.
    found = (read(text) or read(text, "genetic")) if text.strip() else None
    if found is None:
        return []
    ids = found.external_ids
    first = next((ids[name] for name in ("ChEBI", "HGNC", "UniProt") if name in ids), found.name)
    exact = text.strip().casefold() == found.name.casefold()
    score, method = (1.0, "label") if exact else (0.97, "synonym")
    return [{"id": first, "name": found.name, "score": score, "method": method}][:top]


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2))
