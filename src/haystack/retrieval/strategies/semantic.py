"""Text similarity: descriptions of perturbation, cell type and sample, compared as character n-grams."""

from __future__ import annotations

import numpy as np

from haystack.contracts import Perturbation
from haystack.retrieval.perturbations import known
from haystack.retrieval.question import Proposals, Question
from haystack.retrieval.similarity import best_similarities, similarities
from haystack.specs import StrategySpec

WEIGHTS = {"perturbation": 0.5, "cell type": 0.3, "sample": 0.2}
SHARE_PERTURBED, SHARE = 0.5, 0.7
"""relevance of identical texts with and without a perturbation: text alone must not outrank the perturbation itself"""
LEAST_PERTURBATION, LEAST = 0.4, 0.35
"""least similarity of the perturbation, and of the whole without a perturbation, for a proposal"""
_CONTEXT = ("tissue_name", "disease_name", "sample_condition")


def propose(question: Question) -> Proposals:
    """Rows with texts similar to the question's: 0.5 (without a perturbation 0.7) x the weighted mean over its texts.

    The ontology sets a lower bound for the similarity of cell types: text alone misses T cell and thymocyte.
    """
    parts = {
        "perturbation": _perturbation(question),
        "cell type": _cell_type(question),
        "sample": _sample(question),
    }
    given = {name: part for name, part in parts.items() if part is not None}
    if not given:
        return Proposals.where(np.zeros(len(question.index)), question.pool, lambda row: "")
    total = sum(WEIGHTS[name] for name in given)
    score = sum((WEIGHTS[name] / total * part for name, part in given.items()), np.zeros(len(question.index)))
    if question.wants_perturbed and "perturbation" in given:
        enough = given["perturbation"] >= LEAST_PERTURBATION
    else:
        enough = score >= LEAST

    def explain(row: int) -> str:
        likeness = ", ".join(f"{name} {part[row]:.2f}" for name, part in given.items())
        index = question.index
        names = [index.label(name, row) for name in ("perturbation_name", "cell_type_name", *_CONTEXT)]
        return f"similar words ({likeness}): {', '.join(name for name in names if name)}"

    share = SHARE_PERTURBED if question.wants_perturbed else SHARE
    return Proposals.where(np.where(enough, share * score, 0.0), question.pool, explain)


def _perturbation(question: Question) -> np.ndarray | None:
    if not question.asked_perturbations:
        return None
    asked = question.main_perturbation
    column = question.index.column("perturbation_name")
    if asked is None:
        scores = best_similarities([question.asked_perturbations[0]], [[name] for name in column.values])
    else:
        scores = best_similarities([_text(asked)], [[_text(known(name) or name)] for name in column.values])
    by_name = dict(zip(column.values, scores, strict=True))
    matches = question.perturbation_matches

    def score(name: str) -> float:
        if name in matches and matches[name].kind != "partial":
            return 1.0
        other = known(name)
        return 0.0 if asked and other and opposed(asked, other) else float(by_name[name])

    return column.spread(score)


def _text(perturbation: Perturbation | str) -> str:
    """Description of a perturbation: names, kind, receptors, signalling, pathways; or just its name."""
    if isinstance(perturbation, str):
        return perturbation
    p = perturbation
    return " ".join([p.name, *p.synonyms, p.type, *p.receptors, *p.signalling, *p.expected_pathways])


def opposed(one: Perturbation, other: Perturbation) -> bool:
    """Whether two perturbations change most of their common genes in opposite directions.

    An inhibitor of a receptor is described by the same words as its ligand.
    """
    balance = 0
    for ours, theirs in (
        (one.expected_pathways, other.expected_pathways),
        (one.expected_targets, other.expected_targets),
    ):
        balance += sum(ours[name] * theirs[name] for name in sorted(ours.keys() & theirs.keys()))
    return balance < 0


def _cell_type(question: Question) -> np.ndarray | None:
    if question.asked_type is None:
        return None
    asked = list(dict.fromkeys([question.asked_type_words, *question.asked.cells.synonyms]))
    column = question.index.column("cell_type_name")
    by_name = dict(zip(column.values, best_similarities(asked, [[name] for name in column.values]), strict=True))
    return np.maximum(question.closeness, column.spread(lambda name: by_name[name]))


def _sample(question: Question) -> np.ndarray | None:
    asked = question.asked
    sample = asked.context
    words = [sample.tissue_name, sample.disease_name, sample.condition, asked.dose, asked.time]
    text = " ".join(word for word in words if word)
    if not text:
        return None
    index = question.index
    codes = index.combine(_CONTEXT)
    _, first = np.unique(codes, return_index=True)
    texts = [" ".join(index.label(name, row) or "" for name in _CONTEXT) for row in first]
    return similarities([text], texts)[0][codes]


SPEC = StrategySpec(
    name="semantic",
    title="similar words in the description",
    description="similar words for perturbation, cell type and sample (character n-grams of names and synonyms)",
    propose=propose,
    tasks=("perturbation", "observation"),
    order=30,
)
