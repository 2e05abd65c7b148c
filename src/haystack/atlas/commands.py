"""`haystack index`: build and describe the index of cells. `haystack atlas`: check, add, convert, correct labels."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from haystack.errors import HaystackError

if TYPE_CHECKING:
    from haystack.config import AtlasEntry


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `haystack index` (build, stats) and `haystack atlas` (check, add, convert, to-zarr, labels)."""
    from haystack.atlas.label_commands import add_labels_command

    index = subparsers.add_parser("index", help="build or describe the index of cells of all atlases")
    actions = index.add_subparsers(metavar="action", required=True)
    build = actions.add_parser("build", help="harmonise the atlases of a config and index their cell sets")
    build.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="default: %(default)s")
    build.add_argument(
        "--index", type=Path, default=Path("results/index"), help="folder to write; default: %(default)s"
    )
    build.add_argument("--json", action="store_true", help="print what was built as JSON")
    build.set_defaults(run=run_build)
    stats = actions.add_parser(
        "stats", help="list the content of the index: atlases, perturbations, cell types, donors, controls"
    )
    stats.add_argument("--index", type=Path, default=Path("results/index"), help="default: %(default)s")
    stats.add_argument("--json", action="store_true", help="everything, as JSON")
    stats.set_defaults(run=run_stats)
    atlas = subparsers.add_parser("atlas", help="look into an atlas, write its entry, correct its labels, convert it")
    conversions = atlas.add_subparsers(metavar="action", required=True)
    check = conversions.add_parser(
        "check", help="check an atlas, and print its content and how its labels are understood"
    )
    check.add_argument(
        "file", help="h5ad or zarr, or the name of an atlas of the config; without an entry, one is guessed"
    )
    check.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="default: %(default)s")
    check.add_argument("--json", action="store_true", help="the report as JSON")
    check.add_argument("--html", type=Path, help="also write the report as a page")
    check.set_defaults(run=run_check)
    add = conversions.add_parser("add", help="guess the entry of an atlas and add it to the list of atlases")
    add.add_argument("file", help="h5ad or zarr, a path or a URI")
    add.add_argument("--name", help="name of the atlas; default: from the file's name")
    add.add_argument("--atlases", type=Path, default=Path("config/atlases.yaml"), help="default: %(default)s")
    add.add_argument("--dry-run", action="store_true", help="print the entry, write nothing")
    add.set_defaults(run=run_add)
    convert = conversions.add_parser("convert", help="write a 10x h5 or h5mu file as h5ad")
    convert.add_argument("source", help="10x .h5 or .h5mu")
    convert.add_argument("target", nargs="?", help="file to write; default: the source's name with .h5ad")
    convert.set_defaults(run=run_convert)
    to_zarr = conversions.add_parser(
        "to-zarr", help="convert an atlas to sharded, row-chunked zarr, which can be read directly from a bucket"
    )
    to_zarr.add_argument("source", help="h5ad or zarr, a path or a URI")
    to_zarr.add_argument("target", help="folder or gs:// URI that ends in .zarr")
    to_zarr.add_argument(
        "--counts-layer", default="X", help="where the raw counts are: X, raw or a layer; default: %(default)s"
    )
    to_zarr.add_argument("--json", action="store_true", help="print what was written as JSON")
    to_zarr.set_defaults(run=run_to_zarr)
    add_labels_command(conversions)


def run_build(args: argparse.Namespace) -> int:
    """Harmonise and index. A refused atlas is reported and left out; the exit code is then 1."""
    from haystack.atlas.harmonize import harmonize_atlas
    from haystack.atlas.index import index_cell_sets
    from haystack.config import load_atlases, load_settings, read_yaml

    atlases = load_atlases(load_settings(read_yaml(args.config)))
    cells: dict[str, Path] = {}
    refused: dict[str, str] = {}
    for name, entry in atlases.items():
        path = args.index / name / "cells.parquet"
        try:
            harmonize_atlas(name, entry, path, path.with_name("mapping.tsv"), path.with_name("intake.json"))
            cells[name] = path
        except HaystackError as error:
            refused[name] = str(error)
            print(f"haystack: {error}", file=sys.stderr)
    if not cells:
        return 1
    index_cell_sets(cells, args.index / "cell_sets.parquet")
    if args.json:
        print(json.dumps({"atlases": {name: str(path) for name, path in cells.items()}, "refused": refused}, indent=2))
    else:
        print(f"{args.index / 'cell_sets.parquet'}: {len(cells)} atlases indexed, {len(refused)} refused")
    return 1 if refused else 0


def run_stats(args: argparse.Namespace) -> int:
    """Print the statistics of an index."""
    from haystack.atlas.index import index_statistics

    cells = {path.parent.name: path for path in sorted(args.index.glob("*/cells.parquet"))}
    statistics = index_statistics(args.index / "cell_sets.parquet", cells)
    if args.json:
        print(json.dumps(statistics, indent=2, ensure_ascii=False, allow_nan=False))
        return 0
    for title in ("atlases", "perturbations", "cell_types", "donors"):
        print(f"{title} ({len(statistics[title])})")
        for item in statistics[title]:
            names = [str(value) for key, value in item.items() if key.endswith(("atlas", "_name", "_id")) and value]
            print(f"  {' '.join(names) or '(none)'}: {item['n_cells']:,} cells, {item['n_sets']:,} sets")
            for warning in item.get("warnings", []):
                print(f"    {warning}")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Harmonise one atlas in a temporary folder and print its report."""
    import shutil
    import tempfile

    from haystack.atlas.check import read_model_genes
    from haystack.atlas.harmonize import harmonize_atlas
    from haystack.atlas.intake import as_text
    from haystack.contracts.base import read_json, to_json
    from haystack.contracts.intake import Intake

    name, entry, genes = _entry_of(args.file, args.config)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "intake.json"
        harmonize_atlas(
            name, entry, out.with_name("cells.parquet"), out.with_name("mapping.tsv"), out, read_model_genes(genes)
        )
        report = read_json(out, Intake)
        print(to_json(report) if args.json else as_text(report))
        if args.html:
            args.html.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(out.with_suffix(".html"), args.html)
    return 0


def _entry_of(file: str, config: Path) -> tuple[str, AtlasEntry, str | None]:
    """Name and entry of an atlas (from the config, else guessed), and the genes of the config's model."""
    from haystack.atlas.guess import guess_entry
    from haystack.config import load_atlases, load_settings, read_yaml

    genes = None
    if config.exists():
        settings = load_settings(read_yaml(config))
        genes = f"{settings.model.path or f'results/model/{settings.model.name}'}/genes.txt"
        known = load_atlases(settings)
        for name, entry in known.items():
            if file == name or Path(file).resolve() == Path(entry.path).resolve():
                return name, entry, genes
    guessed = guess_entry(file)
    return guessed.name, guessed.entry(), genes


def run_add(args: argparse.Namespace) -> int:
    """Guess an entry, and append it to the list of atlases."""
    from haystack.atlas.guess import add_entry, guess_entry

    guess = guess_entry(args.file, args.name)
    if args.dry_run:
        print(guess.yaml(), end="")
        return 0
    add_entry(guess, args.atlases)
    print(f"{guess.yaml()}\nAdded to {args.atlases}. Look at the comments, then: haystack atlas check {guess.name}")
    return 0


def run_convert(args: argparse.Namespace) -> int:
    """Write a 10x h5 or h5mu file as h5ad."""
    from haystack.atlas.imports import write_h5ad

    target = args.target or str(Path(args.source).with_suffix(".h5ad"))
    print(write_h5ad(args.source, target))
    return 0


def run_to_zarr(args: argparse.Namespace) -> int:
    """Convert one atlas."""
    from dataclasses import asdict

    from haystack.atlas.convert import write_zarr

    written = write_zarr(args.source, args.target, args.counts_layer)
    if args.json:
        print(json.dumps(asdict(written), indent=2))
        return 0
    print(
        f"{written.target}: {written.n_cells:,} cells x {written.n_genes:,} genes, {written.n_values:,} counts\n"
        f"In its entry: path: {written.target}, counts_layer: X"
    )
    return 0
