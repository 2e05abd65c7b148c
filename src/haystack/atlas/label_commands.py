"""`haystack atlas labels`: how the labels of an atlas were understood, as a table that can be corrected."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from pathlib import Path

from haystack.errors import AtlasError
from haystack.files import write_text

COLUMNS = ("kind", "label", "id", "name", "score", "method", "n_cells", "check", "others")
UNSURE = 0.7
"""probability below which a row is marked for review"""
OTHERS = 3


def add_labels_command(actions: argparse._SubParsersAction) -> None:
    """Add `haystack atlas labels`."""
    labels = actions.add_parser(
        "labels", help="show how labels were understood, most cells first, as a table that can be corrected"
    )
    labels.add_argument("atlas", help="name of the atlas in the index")
    labels.add_argument("--index", type=Path, default=Path("results/index"), help="default: %(default)s")
    labels.add_argument("--top", type=int, default=40, metavar="N", help="labels to show; default: %(default)s")
    labels.add_argument(
        "--out",
        type=Path,
        metavar="TSV",
        help="file for all labels; correct it and name it as `mapping` in the entry",
    )
    labels.add_argument("--json", action="store_true", help="print all labels as JSON")
    labels.set_defaults(run=run_labels)


def run_labels(args: argparse.Namespace) -> int:
    """Show the mapping of one atlas, or write it for correction."""
    rows = label_rows(args.index / args.atlas / "mapping.tsv")
    if args.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    if args.out is not None:
        write_text(args.out, _table(rows))
        print(
            f"{args.out}: {len(rows)} labels, {sum(bool(row['check']) for row in rows)} to check. Correct the column "
            "id (empty: no term; for a perturbation its name), then set "
            f"mapping: {args.out} in the entry of '{args.atlas}'",
            file=sys.stderr,
        )
        return 0
    print(_table(rows[: args.top]), end="")
    if len(rows) > args.top:
        print(f"{len(rows) - args.top} more labels: --top, or --out for all", file=sys.stderr)
    return 0


def label_rows(mapping: Path) -> list[dict[str, str]]:
    """Rows of a mapping file, most cells first; `check` says why a row needs a look, `others` what else may be meant.

    The id of a perturbation is its canonical name, which `mapping` of the entry understands.

    Raises
    ------
    AtlasError
        when the atlas was not harmonised yet, or its mapping cannot be read.
    """
    if not mapping.exists():
        known = sorted(path.parent.name for path in mapping.parent.parent.glob("*/mapping.tsv"))
        raise AtlasError(
            f"{mapping}: no such file; harmonised atlases there: {', '.join(known) or 'none'}. "
            "Build the index first (haystack index build)"
        )
    try:
        read = list(csv.DictReader(io.StringIO(mapping.read_text(encoding="utf-8")), delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AtlasError(f"{mapping}: cannot be read ({error}); delete it and build the index again") from None
    rows = [_row({column: row.get(column) or "" for column in COLUMNS}) for row in read]
    return sorted(rows, key=lambda row: (-int(row["n_cells"] or 0), row["kind"], row["label"]))


def _row(row: dict[str, str]) -> dict[str, str]:
    from haystack.ontology import resolve

    score = float(row["score"] or 0)
    if row["kind"] == "perturbation":
        row["id"] = row["name"] if row["method"] else ""
        row["check"] = "" if row["method"] else "not known"
        return row
    row["check"] = "no term" if not row["id"] else "unsure" if score < UNSURE else ""
    others = [match for match in resolve(row["kind"], row["label"]) if match.id != row["id"]] if row["check"] else []
    row["others"] = "; ".join(f"{match.id} {match.name}" for match in others[:OTHERS])
    return row


def _table(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
