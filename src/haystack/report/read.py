"""Read the files of a run through their contracts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from haystack.contracts import Candidates, Decision, Grounding, Prompt, PromptGrounding, Prompts, read_json
from haystack.errors import ContractError


@dataclass(frozen=True)
class Iteration:
    """One iteration: its folder and JSON files."""

    folder: Path
    candidates: Candidates
    prompts: Prompts
    grounding: Grounding
    decision: Decision

    @property
    def number(self) -> int:
        """Counted from 1."""
        return self.decision.iteration

    def file(self, name: str) -> Path:
        """Path of a file of this iteration."""
        return self.folder / name


@dataclass(frozen=True)
class Best:
    """The best prompt of the best iteration; no prompt if none was made."""

    iteration: Iteration
    prompt: Prompt | None
    grounding: PromptGrounding | None


def read_iterations(run_id: str, run_dir: Path, last: Decision) -> list[Iteration]:
    """Iterations 1 to that of the last decision.

    Raises
    ------
    ContractError
        if a file is missing, broken, or belongs to another run or iteration.
    """
    iterations = []
    for number in range(1, last.iteration + 1):
        folder = run_dir / f"iter_{number}"
        iteration = Iteration(
            folder=folder,
            candidates=read_json(folder / "candidates.json", Candidates),
            prompts=read_json(folder / "prompts.json", Prompts),
            grounding=read_json(folder / "grounding.json", Grounding),
            decision=read_json(folder / "decision.json", Decision),
        )
        for name in ("candidates", "prompts", "grounding", "decision"):
            part = getattr(iteration, name)
            if part.run_id != run_id or part.iteration != number:
                raise ContractError(
                    f"{folder / name}.json: belongs to run '{part.run_id}', iteration {part.iteration}; "
                    f"expected run '{run_id}', iteration {number}. Delete the folder and run again"
                )
        iterations.append(iteration)
    return iterations


def find_best(iterations: list[Iteration], last: Decision) -> Best:
    """Find the best prompt of the best iteration.

    If nothing could be scored, the first prompt of the first iteration is used, so that its genes are shown.
    """
    by_number = {iteration.number: iteration for iteration in iterations}
    if last.best_iteration is not None and last.best_iteration not in by_number:
        raise ContractError(
            f"decision.json of run '{last.run_id}': best_iteration {last.best_iteration} "
            f"is not among 1 to {last.iteration}"
        )
    best = by_number[last.best_iteration or 1]
    if not best.prompts.prompts:
        return Best(best, None, None)
    prompts = {prompt.prompt_id: prompt for prompt in best.prompts.prompts}
    wanted = last.best_prompt_id or best.grounding.best_prompt_id or next(iter(prompts))
    if wanted not in prompts:
        raise ContractError(
            f"{best.file('prompts.json')}: has no prompt '{wanted}', the best one according to decision.json"
        )
    scored = {item.prompt_id: item for item in best.grounding.prompts}
    return Best(best, prompts[wanted], scored.get(wanted))
