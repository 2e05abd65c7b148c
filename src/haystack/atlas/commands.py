"""`haystack index`: build the index of cells without Snakemake, and look at it. `haystack atlas`: convert atlases."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from haystack.errors import HaystackError


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `haystack index build`, `haystack index stats` and `haystack atlas to-zarr`."""
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
        "stats", help="what the index holds: atlases, perturbations, cell types, donors, controls"
    )
    stats.add_argument("--index", type=Path, default=Path("results/index"), help="default: %(default)s")
    stats.add_argument("--json", action="store_true", help="everything, as JSON")
    stats.set_defaults(run=run_stats)
    atlas = subparsers.add_parser("atlas", help="convert atlases")
    conversions = atlas.add_subparsers(metavar="action", required=True)
    to_zarr = conversions.add_parser(
        "to-zarr", help="write an atlas as sharded, row-chunked zarr, which is read in place from a bucket"
    )
    to_zarr.add_argument("source", help="h5ad or zarr, a path or a URI")
    to_zarr.add_argument("target", help="folder or gs:// URI that ends in .zarr")
    to_zarr.add_argument(
        "--counts-layer", default="X", help="where the raw counts are: X, raw or a layer; default: %(default)s"
    )
    to_zarr.add_argument("--json", action="store_true", help="print what was written as JSON")
    to_zarr.set_defaults(run=run_to_zarr)


def run_build(args: argparse.Namespace) -> int:
    """Harmonise and index. An atlas that is refused is named and left out; the exit code is then 1."""
    from haystack.atlas.harmonize import harmonize_atlas
    from haystack.atlas.index import index_cell_sets
    from haystack.config import load_atlases, load_settings, read_yaml

    atlases = load_atlases(load_settings(read_yaml(args.config)))
    cells: dict[str, Path] = {}
    refused: dict[str, str] = {}
    for name, entry in atlases.items():
        path = args.index / name / "cells.parquet"
        try:
            harmonize_atlas(name, entry, path, path.with_name("mapping.tsv"))
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
