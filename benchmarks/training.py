"""How well a small STACK answers what it was not trained on, beside the baselines.

    python benchmarks/training.py --config config/examples/kang.yaml [--index results/index] [--model DIR]

Trains the model that the config's `model.train` describes (or takes a finished one, whose provenance says what was held
out), then asks every held-out question once and with five generations averaged. Pearson correlations, over the
model's genes, of predicted changes (of negative-binomial means) and true changes of mean log(1 + CP10k); the truth's
control cells are neither query nor prompt. No change scores 0.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections import defaultdict
from pathlib import Path
from time import perf_counter

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"))
    parser.add_argument("--index", type=Path, default=Path("results/index"), help="folder with {atlas}/cells.parquet")
    parser.add_argument("--model", type=Path, help="a finished model; default: train one")
    parser.add_argument("--questions", type=int, default=40)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    from haystack.config import TrainSettings, load_atlases, load_settings, read_yaml
    from haystack.inference import load_model, train_model
    from haystack.inference.training_cells import read_training_cells
    from haystack.inference.validation import validate_held_out

    settings = load_settings(read_yaml(arguments.config))
    atlases = load_atlases(settings)
    cells = {name: arguments.index / name / "cells.parquet" for name in atlases}
    exclude, train = settings.retrieval.exclude, settings.model.train
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.model or Path(folder)
        if arguments.model is None:
            if train is None:
                raise SystemExit(f"{arguments.config}: model.train is not set; give --model")
            start = perf_counter()
            train_model(atlases, cells, path, train, exclude, settings.seed)
            print(f"trained in {perf_counter() - start:.0f} s, reading and validation included")
        model = load_model(path, "cpu")
    if arguments.model is not None:
        assert model.provenance is not None
        source = model.provenance.source
        train, exclude = TrainSettings.model_validate(source["settings"] | {"exclude": source["held_out"]}), []
    data = read_training_cells(atlases, cells, train, exclude, settings.seed, model.genes)
    once = validate_held_out(model, data, settings.seed, arguments.questions)
    averaged = validate_held_out(model, data, settings.seed, arguments.questions, generations=5)
    show(once, averaged)


def show(once: list, averaged: list) -> None:
    groups = defaultdict(list)
    for one, five in zip(once, averaged, strict=True):
        new = "never in training" if one.new_perturbation else "other types in training"
        row = (one.stack, five.stack, one.additive, one.mean_of_others, one.slope, one.control_slope, one.top50_overlap)
        groups[f"{one.perturbation} ({new})"].append(row)
        groups["all"].append(row)
    heads = ("questions", "STACK", "5 averaged", "additive", "others", "slope", "controls", "top 50")
    print(f"{'':44s}" + "".join(f"{head:>11s}" for head in heads))
    for name in sorted(groups, key=lambda name: (name == "all", name)):
        means = np.mean(groups[name], axis=0)
        print(f"{name:44s}{len(groups[name]):11d}" + "".join(f"{mean:11.2f}" for mean in means))


if __name__ == "__main__":
    main()
