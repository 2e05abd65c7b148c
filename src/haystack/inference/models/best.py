"""Transfer, unless STACK's exam on measured contexts shows STACK to be better by more than its noise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from haystack.inference.models import stack, transfer
from haystack.specs import ModelSpec

if TYPE_CHECKING:
    from haystack.inference.prediction import Prediction, Request

LEFT_OUT, ACCURACY = "left_out.parquet", "accuracy.json"


def predict(request: Request) -> Prediction:
    """Let STACK sit its exam, then answer with whom the exam prefers.

    STACK answers without an exam only where nothing is measured that `transfer` could answer from.
    """
    from haystack.inference.prediction import Prediction

    exam = [prompt for prompt in request.prompts if prompt.exam]
    asked = [prompt for prompt in request.prompts if not prompt.exam]
    sat = stack.predict(replace(request, prompts=exam)) if exam else Prediction([])
    chosen, because = _choose(request, sat)
    answer = chosen.predict(replace(request, prompts=asked))
    made = {prompt.prompt_id: one for prompt, one in zip([*exam, *asked], [*sat.prompts, *answer.prompts], strict=True)}
    own = {"examined": stack.SPEC.name, "answered_by": chosen.name, "because": because, "sees_all": chosen.sees_all}
    return Prediction(
        [made[prompt.prompt_id] for prompt in request.prompts],
        {**sat.facts, **answer.facts, **own},
        answer.load_seconds if sat.load_seconds is None else sat.load_seconds + (answer.load_seconds or 0),
        answer.peak_device_memory_gib or sat.peak_device_memory_gib,
    )


def _choose(request: Request, sat: Prediction) -> tuple[ModelSpec, str]:
    """Who answers, and why."""
    from haystack.contracts import TRANSFER, read_table
    from haystack.inference.change import PSEUDOCOUNT
    from haystack.inference.exam import exam_answers
    from haystack.transfer.marks import mark_exam

    if read_table(request.files[transfer.NAME], TRANSFER, ["gene"]).empty:
        return stack.SPEC, "nothing is measured that transfer could answer from"
    sitting = [prompt for prompt in request.prompts if prompt.exam]
    answers = exam_answers(list(zip(sitting, sat.prompts, strict=True)), stack.SPEC.name, request.folder)
    exam = mark_exam(request.files[LEFT_OUT], request.files[ACCURACY], request.genes, answers, PSEUDOCOUNT)
    if exam is None:
        return transfer.SPEC, "there was no exam: no measured context is independent of another, or exam.contexts is 0"
    if exam.difference is None or exam.noise is None:
        return transfer.SPEC, f"STACK was trained on the cells of its exam. {exam.sentence}"
    more = f"difference of Fisher's z {exam.difference:.2f}, noise {exam.noise:.2f}"
    return (stack.SPEC if exam.model_is_better else transfer.SPEC), f"{exam.sentence.rstrip('.')} ({more})."


SPEC = ModelSpec(
    name="best",
    title="the better of transfer and STACK",
    description="transfer, unless an exam on measured contexts shows STACK to be better by more than its noise",
    predict=predict,
    licences=("Where STACK answered, its licences hold:", *stack.SPEC.licences),
    citation=stack.SPEC.citation,
    detail=stack.SPEC.detail,
    weights=True,
    gpu=True,
    exam_always=True,
    needs=(transfer.NAME, LEFT_OUT, ACCURACY),
    package=stack.SPEC.package,
    order=12,
)
