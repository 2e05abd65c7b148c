"""`haystack profile`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `haystack profile install`."""
    parser = subparsers.add_parser("profile", help="install our Snakemake profiles so that they work by name")
    actions = parser.add_subparsers(metavar="action", required=True)
    install = actions.add_parser("install", help="link profiles/* into Snakemake's user folder, for `--profile gcp`")
    install.add_argument(
        "--source", type=Path, default=Path("profiles"), help="folder with profiles (default: profiles)"
    )
    install.set_defaults(run=_install)


def _install(args: argparse.Namespace) -> int:
    from haystack.profiles import install_profiles

    for name, link in install_profiles(args.source).items():
        print(f"{name}\t{link}")
    return 0
