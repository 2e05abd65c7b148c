"""The design behind the answer (cells, controls, similarity), and the comparison of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from haystack.contracts import CellSet, ControlStrategy
from haystack.contracts.accuracy import Exam, ExpectedAccuracy
from haystack.contracts.retrieval import MATCHED, matched_fields
from haystack.contracts.runlog import PromptLog, RunLog
from haystack.report.answer import best_iteration
from haystack.report.words import count, listed, number, plural

KINDS_SHOWN = 4
AGAINST_REAL = "generated against real control"
"""key of the held-out comparison in `Validation.conventions`"""
METHODS = {
    "no_change": ("No change", "predicts that nothing happens"),
    "additive": ("Additive", "adds the mean measured shift"),
    "prompt_mean": ("Prompt mean", "takes the mean of the prompt cells"),
    "transfer": ("Transfer", "combines the measured responses of all contexts"),
    "type_mean": ("Mean of the type", "takes the mean of the other donors, tissues or diseases"),
    "nearest_group": ("Nearest", "takes the donor, tissue or disease whose other cell types are most alike"),
}
"""method of the expected accuracy -> name, and what it does"""


def run_accuracy(log: RunLog) -> ExpectedAccuracy | None:
    """Expected accuracy of the run; None in logs of runs that did not estimate it."""
    item = best_iteration(log) or (log.iterations[-1] if log.iterations else None)
    return item.grounding.accuracy if item else None


def run_exam(log: RunLog) -> Exam | None:
    """Accuracy of the model on held-out measured contexts; None if it was not tested."""
    item = best_iteration(log) or (log.iterations[-1] if log.iterations else None)
    return item.grounding.exam if item else None


def design_rows(log: RunLog) -> list[tuple[str, str]]:
    """Label and text of each row of the design box; empty without a prediction."""
    item = best_iteration(log)
    prompt = next((one for one in item.prompts if one.prompt_id == log.answer.best_prompt_id), None) if item else None
    if item is None or prompt is None:
        return []
    rows = [
        ("Condition", _arm(prompt.cell_sets, prompt.cells_per_set)),
        ("Compared with", _controls(log, prompt)),
        ("Matching", matching(prompt)),
        ("Predicted for", _arm(item.query_cell_sets, item.query_cells_per_set)),
        ("Atlases", _atlases(log)),
    ]
    near = [
        one.sentence.removeprefix("Distance: ")
        for one in log.answer.findings
        if one.name == "distance" and log.answer.capped_by != "distance"  # stands beside the class then
    ]
    return [*rows, *(("Distance", text[:1].upper() + text[1:]) for text in near)]


def matching(prompt: PromptLog) -> str:
    """Fields in which control cells match the prompt cells; unrecorded fields cannot be matched."""
    if prompt.control_strategy is ControlStrategy.QUERY_AS_CONTROL or not prompt.n_control_cells:
        return (
            "Not matched: no control cells were found, so generated cells are compared with the query cells, which "
            "adds the model’s reconstruction error."
        )
    given_up = [step.replace("_", " ") for step in prompt.pairing_steps]
    unknown = [
        name for name in ("cell type", "donor") if any(getattr(s, MATCHED[name]) is None for s in prompt.cell_sets)
    ]
    text = f"Matched for {listed(matched_fields(prompt.cell_sets, given_up))}"
    text += f"; not for {listed(given_up)}" if given_up else ""
    return text + (f". {listed(unknown).capitalize()} not recorded." if unknown else ".")


def model_rows(log: RunLog) -> list[dict[str, Any]]:
    """Comparison of models: mean r over left-out contexts, and the r expected of this prediction."""
    accuracy = run_accuracy(log)
    rows = []
    for name, r in sorted(accuracy.methods.items(), key=lambda pair: pair[1]) if accuracy else []:
        title, what = METHODS.get(name, (name, ""))
        rows.append({"name": title, "what": what, "r": r, "how": _left_out(accuracy), "own": name == log.model.kind})
    exam = run_exam(log)
    rows += _exam_rows(exam) if exam else []
    if log.answer.expected_r is not None:
        answered, because = log.inference.get("answered_by"), log.inference.get("because")
        rows.append(
            {
                "name": f"This prediction ({log.model.kind}{f': {answered}' if answered else ''})",
                "what": "best prompt of the run" + (f". {because}" if because else ""),
                "r": log.answer.expected_r,
                "how": "with measured contexts outside its prompt; unlike in the other rows, sampling noise is removed",
                "own": True,
            }
        )
    if rows and accuracy is not None and accuracy.half_of_real_cells is not None:
        rows.append(
            {
                "name": "Half of the real cells",
                "what": "one half predicts the other; whole measurements agree better",
                "r": accuracy.half_of_real_cells,
                "how": _left_out(accuracy),
                "own": False,
            }
        )
    return rows


def _exam_rows(exam: Exam) -> list[dict[str, Any]]:
    rows = []
    for one in exam.contexts:
        others = ", ".join(f"{name} {number(one.r[name])}" for name in ("transfer", "additive"))
        cells = plural(one.cell_type_name) if one.cell_type_name else "cells"
        cells += f" of {one.donor_id}" if one.donor_id else ""
        trained = "; the model was trained on cells of this experiment" if one.trained_on else ""
        rows.append(
            {
                "name": f"{exam.model}, held-out test",
                "what": f"predicts {cells} under {one.perturbation_name}, measured and kept out of the prompt",
                "r": one.r["model"],
                "how": f"on {one.n_genes:,} genes; {others} on the same genes{trained}",
                "own": False,
            }
        )
    return rows


def limitations(log: RunLog, not_shown: Sequence[str]) -> list[str]:
    """Limitations of the answer not covered by `cautions` and `not_evaluated`."""
    sentences = ["This is a model’s prediction, not a measurement. Treat it as a hypothesis to test."]
    sentences += _against_baselines(log)
    capping = log.answer.capped_by  # stands beside the class
    sentences += [item.sentence for item in log.answer.findings if item.cap == "medium" and item.name != capping]
    sentences += not_shown
    accuracy = run_accuracy(log)
    if accuracy is not None and accuracy.r is not None and not accuracy.asked_is_measured:
        sentences.append(
            f"This perturbation was not measured; accuracy is estimated from {listed(accuracy.perturbations)} instead."
        )
    if accuracy is not None:
        sentences += accuracy.notes
    return list(dict.fromkeys(sentences))


def _against_baselines(log: RunLog) -> list[str]:
    """A sentence if a baseline is closer to the held-out measurement than the prediction."""
    rows = log.validation.conventions.get(AGAINST_REAL, {}) if log.validation else {}
    r = {name: row["pearson_delta"] for name, row in rows.items() if row.get("pearson_delta") is not None}
    best = max((name for name in r if name in METHODS), key=lambda name: r[name] or 0, default=None)
    if best is None or "prediction" not in r or (r[best] or 0) <= (r["prediction"] or 0):
        return []
    return [
        f"Compared with held-out cells the prediction reaches r {number(r['prediction'])}, and the baseline "
        f"“{METHODS[best][0]}” {number(r[best])}."
    ]


def _left_out(accuracy: ExpectedAccuracy | None) -> str:
    return f"mean over {count(accuracy.n_contexts, 'left-out context')}" if accuracy else ""


def _arm(cell_sets: Sequence[CellSet], cells: Mapping[str, int]) -> str:
    """`120 cells, 3 contexts, 3 donors: T cells + IFN-beta (69), ...`."""
    sets = [item for item in cell_sets if cells.get(item.cell_set_id, 0)]
    donors = {item.donor_id for item in sets if item.donor_id}
    known = count(len(donors), "donor") if donors else "donors not recorded"
    parts: dict[str, int] = {}
    for item in sets:
        name = plural(item.cell_type_name) if item.cell_type_name else "cells of unknown type"
        name += f" under {item.background}" if item.background else ""
        name += f" with {item.perturbation_name}" if item.perturbation_name else ""
        name += f" ({item.sample_condition})" if item.sample_condition else ""
        parts[name] = parts.get(name, 0) + cells[item.cell_set_id]
    ranked = sorted(parts, key=lambda name: (-parts[name], name))
    kinds = [f"{parts[name]} {name}" for name in ranked[:KINDS_SHOWN]]
    more = f" and {len(ranked) - KINDS_SHOWN} more" if len(ranked) > KINDS_SHOWN else ""
    total = count(sum(parts.values()), "cell")
    return f"{total}, {count(len(sets), 'context')}, {known}: {', '.join(kinds)}{more}"


def _controls(log: RunLog, prompt: PromptLog) -> str:
    if prompt.control_strategy is ControlStrategy.QUERY_AS_CONTROL or not prompt.n_control_cells:
        return "the query cells themselves"
    if not prompt.control_sets:
        return count(prompt.n_control_cells, "control cell")
    return _arm(prompt.control_sets, prompt.control_cells_per_set)


def _atlases(log: RunLog) -> str:
    used = [item for item in log.atlases if item.used]
    return "; ".join(
        item.name + (" (simulated)" if item.simulated else "") + (f": {item.description}" if item.description else "")
        for item in used
    )


def accuracy_text(accuracy: ExpectedAccuracy | None) -> tuple[str, str]:
    """Headline of the expected accuracy, and its explanation."""
    if accuracy is None:
        return "not estimated", "This run did not estimate its accuracy."
    if accuracy.r is None:
        return "cannot be estimated", f"{accuracy.sentence}"
    return (
        f"r {number(accuracy.r)} ({number(accuracy.low)} to {number(accuracy.high)})",
        f"In brackets: 90% interval. {accuracy.basis}",
    )
