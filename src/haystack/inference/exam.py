"""What a model answers in the exam, as means per gene."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from haystack.contracts import PredictionRole
from haystack.inference.cells import PromptCells
from haystack.inference.change import mean_cp10k
from haystack.inference.prediction import Predicted


def exam_answers(
    made: Sequence[tuple[PromptCells, Mapping[PredictionRole, Predicted]]], model: str, folder: Path | None
) -> dict[str, dict[str, Any]]:
    """`uns["exam"]` of the predictions, of the prompts that are part of an exam.

    Parameters
    ----------
    made
        prompts and what was predicted, other prompts among them.
    model
        its kind.
    folder
        the model's; None for a model without weights, which was trained on nothing.
    """
    trained = _trained_on(folder)
    answers = {}
    for prompt, predicted in made:
        if not prompt.exam:
            continue
        control = predicted.get(PredictionRole.CONTROL)
        answers[prompt.prompt_id] = {
            "model": model,
            "perturbed": mean_cp10k(predicted[PredictionRole.PERTURBED].mean),
            "control": mean_cp10k(prompt.query if control is None else control.mean),
            "atlases_trained_on": trained["atlases"],
            "perturbations_trained_on": trained["perturbations"],
        }
    return answers


def _trained_on(folder: Path | None) -> dict[str, list[str]]:
    """Atlases and perturbations of the cells that trained a model of this pipeline; of others nothing is known."""
    source = json.loads((folder / "provenance.json").read_text()).get("source", {}) if folder else {}
    source = source if isinstance(source, dict) else {}
    return {name: [str(value) for value in source.get(name, [])] for name in ("atlases", "perturbations")}
