"""`haystack model import`, `haystack model train`, `haystack generate`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from haystack.errors import ConfigError


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommands of this room."""
    model = subparsers.add_parser("model", help="import, download or train a STACK model")
    kinds = model.add_subparsers(dest="model_command", required=True)
    _add_import(kinds.add_parser("import", help="convert an arc-stack checkpoint to a safe model folder"))
    _add_download(
        kinds.add_parser("download", help="download a checkpoint from the Hugging Face hub, or a folder from gs://")
    )
    _add_train(kinds.add_parser("train", help="train a small model on the atlases of a config"))
    _add_generate(subparsers.add_parser("generate", help="generate cells from prompts with a model"))


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, help="arc-stack checkpoint (.ckpt)")
    parser.add_argument("--genes", type=Path, required=True, help="gene list (.pkl or .txt)")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--checkpoint-sha256", help="refuse any other checkpoint")
    parser.add_argument("--genes-sha256", help="refuse any other gene list")
    parser.set_defaults(run=_import)


def _add_download(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", help="repository of the hub (arcinstitute/Stack-Large-Aligned), or gs://bucket/folder"
    )
    parser.add_argument("--revision", help="commit of the repository, 40 hexadecimal digits")
    parser.add_argument("--checkpoint", help="file name of the checkpoint (default: that of Stack-Large-Aligned)")
    parser.add_argument("--genes", help="file name of the gene list (default: that of Stack-Large-Aligned)")
    parser.add_argument("--checkpoint-sha256", help="refuse any other checkpoint")
    parser.add_argument("--genes-sha256", help="refuse any other gene list")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.set_defaults(run=_download)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, help="config file with model.train and atlases")
    parser.add_argument("--index", type=Path, default=Path("results/index"), help="folder with {atlas}/cells.parquet")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.set_defaults(run=_train)


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--cells", type=Path, help="h5ad with obs role (prompt, control_prompt, query) and prompt_id")
    parser.add_argument("--prompt", type=Path, help="h5ad of prompt cells, instead of --cells")
    parser.add_argument("--control", type=Path, help="h5ad of control prompt cells")
    parser.add_argument("--query", type=Path, help="h5ad of query cells")
    parser.add_argument("--out", type=Path, required=True, help="predictions h5ad to write")
    parser.add_argument("--steps", type=int, default=5, help="steps of the mask-diffusion schedule (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32", help="default fp32")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--batch-size", type=int, default=8, help="windows per forward pass (default 8)")
    parser.add_argument("--generations", type=int, default=1, help="generations averaged over seeds (default 1)")
    parser.set_defaults(run=_generate)


def _import(arguments: argparse.Namespace) -> int:
    from haystack.inference.importing import import_checkpoint

    import_checkpoint(
        arguments.checkpoint, arguments.genes, arguments.out, arguments.checkpoint_sha256, arguments.genes_sha256
    )
    print(f"wrote {arguments.out}")
    return 0


def _download(arguments: argparse.Namespace) -> int:
    from haystack.config import ModelDownload, validate
    from haystack.inference.download import copy_model, download_stack_model

    if "://" in arguments.source:
        copy_model(arguments.source, arguments.out)
    else:
        names = ("revision", "checkpoint", "genes", "checkpoint_sha256", "genes_sha256")
        given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
        download = validate(ModelDownload, {"repository": arguments.source, **given}, "haystack model download")
        download_stack_model(download, arguments.out, offline=False)
    print(f"wrote {arguments.out}")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from haystack.config import load_atlases, load_settings, read_yaml
    from haystack.inference.training import train_model

    settings = load_settings(read_yaml(arguments.config))
    if settings.model.train is None:
        raise ConfigError(f"{arguments.config}: model.train is not set; name the atlases to train on there")
    atlases = load_atlases(settings)
    cells = {name: arguments.index / name / "cells.parquet" for name in atlases}
    train_model(atlases, cells, arguments.out, settings.model.train, settings.retrieval.exclude, settings.seed)
    print(f"wrote {arguments.out}")
    return 0


def _generate(arguments: argparse.Namespace) -> int:
    from haystack.config import ModelSettings
    from haystack.inference.predict import run_files, run_inference

    settings = ModelSettings(
        path=str(arguments.model),
        steps=arguments.steps,
        precision=arguments.precision,
        device=arguments.device,
        batch_size=arguments.batch_size,
        generations=arguments.generations,
    )
    own = (arguments.prompt, arguments.query)
    if arguments.cells is not None and not any((*own, arguments.control)):
        report = run_inference(arguments.model, arguments.cells, arguments.out, settings, arguments.seed)
    elif arguments.cells is None and all(own):
        files = arguments.prompt, arguments.control, arguments.query
        report = run_files(arguments.model, *files, arguments.out, settings, arguments.seed)
    else:
        raise ConfigError("haystack generate: give either --cells, or --prompt and --query (and --control)")
    print(json.dumps({"out": str(arguments.out), **report}))
    return 0
