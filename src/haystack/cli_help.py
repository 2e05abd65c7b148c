"""Help of the `haystack` command: one sentence and one example for each subcommand."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

EXAMPLES = {
    "parse": '"How would B cells respond to IL-4?"',
    "resolve": 'cell-type "CD14+ mono"',
    "resolve-file": "labels.txt --kind cell-type",
    "index build": "--config config/config.yaml",
    "index stats": "--index results/index",
    "atlas check": "my_cells.h5ad",
    "atlas add": "my_cells.h5ad --name my_cells",
    "atlas convert": "filtered_feature_bc_matrix.h5 my_cells.h5ad",
    "atlas to-zarr": "my_cells.h5ad my_cells.zarr",
    "atlas labels": "my_cells --out labels.tsv",
    "retrieve": '"How would B cells respond to IL-4?" --top 5',
    "model import": "--checkpoint stack.ckpt --genes genes.pkl --out models/stack",
    "model download": "gs://bucket/stack --out models/stack",
    "model train": "--config config/config.yaml --out models/small",
    "generate": "--model models/stack --cells cells.h5ad --out predictions.h5ad",
    "ground": '--perturbed treated.h5ad --control untreated.h5ad --question "How do B cells respond to IL-4?"',
    "validate": "--predicted predicted.h5ad --observed measured.h5ad --control untreated.h5ad",
    "reproduce": "results/runs/my_run/my_run_log.json",
    "runs submit": '"How would B cells respond to IL-4?" --wait',
    "runs list": "--status running",
    "runs status": "run_1a2b3c4d5e6f",
    "runs result": "run_1a2b3c4d5e6f --json",
    "runs cancel": "run_1a2b3c4d5e6f",
    "runs delete": "run_1a2b3c4d5e6f",
    "runs expand": '--cell-type "B cells" --perturbation IL-4 --perturbation TNF',
    "batch": "--chunk 50 -- --profile profiles/local",
    "debug": "ground_predictions --run my_run --iteration 1",
    "profile install": "",
    "gcp submit": '"How would B cells respond to IL-4?"',
    "gcp status": "run_1a2b3c4d5e6f",
    "gcp watch": "run_1a2b3c4d5e6f",
    "gcp cancel": "run_1a2b3c4d5e6f",
    "gcp coordinate": "gs://bucket/requests/run_1a2b3c4d5e6f.json",
    "serve": "--port 8000",
    "worker": "",
    "completion": "bash",
}
"""subcommand -> arguments that work as they stand"""


def explain(parser: argparse.ArgumentParser) -> None:
    """Give every subcommand a description (its line in the list of commands, where it has none) and an example."""
    for path, command, line in commands(parser):
        if command.description is None:
            command.description = f"{line[:1].upper()}{line[1:]}."
        if (example := EXAMPLES.get(path)) is not None:
            shown = f"example: haystack {path} {example}".rstrip()
            command.epilog = f"{command.epilog}\n\n{shown}" if command.epilog else shown


def commands(
    parser: argparse.ArgumentParser, above: str = "", line: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """Path (`index build`), parser and one-line help of every subcommand that runs something."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield above, parser, line
    for group in groups:
        lines = {item.dest: item.help or "" for item in group._choices_actions}
        for name, child in group.choices.items():
            yield from commands(child, f"{above} {name}".strip(), lines.get(name, ""))
