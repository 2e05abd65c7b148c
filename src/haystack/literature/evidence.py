"""Extract evidence from the text of papers, and combine it into one verdict per gene."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from haystack.contracts.literature import Evidence, GeneLiterature, Paper
from haystack.contracts.query import Direction
from haystack.literature.statements import read_sentence
from haystack.literature.text import plain, sentences
from haystack.literature.topic import Topic

Section = Literal["title", "abstract", "full text"]
Texts = Sequence[tuple[Section, str]]

PER_GENE = 3
"""sentences kept per paper and gene: title first, then abstract, then full text"""
ELSEWHERE = 0.5
"""vote of a paper that does not name the question's cell type"""
MAJORITY = 1 / 3
"""least |up - down| / votes of an agreed direction"""


def evidence_of(paper: Paper, texts: Texts, topic: Topic) -> tuple[list[Evidence], set[str]]:
    """Evidence in one paper, and the genes named together with the perturbation.

    Parameters
    ----------
    texts
        (section, clean text) in order: title, abstract, paragraphs.
    """
    perturbation, cell = topic.pattern, topic.cell_pattern
    patterns = {gene: topic.gene_pattern(gene) for gene in topic.genes}
    split = [(section, sentence, plain(sentence)) for section, text in texts for sentence in sentences(text)]
    everything = " ".join(words for _, _, words in split)
    if perturbation is None or not perturbation.search(everything):
        return [], set()
    named = {gene for gene, pattern in patterns.items() if pattern.search(everything)}
    front = " ".join(words for section, _, words in split if section != "full text")
    cell_in_paper = bool(cell and cell.search(front))
    evidence: list[Evidence] = []
    kept: dict[str, int] = {}
    for section, sentence, words in split:
        if not perturbation.search(words):
            continue
        here = "sentence" if cell and cell.search(words) else "paper" if cell_in_paper else "none"
        for gene in sorted(named):
            if kept.get(gene, 0) >= PER_GENE or not patterns[gene].search(words):
                continue
            statement = read_sentence(words, patterns[gene], perturbation, lost=topic.lost)
            if statement is None:
                continue
            kept[gene] = kept.get(gene, 0) + 1
            evidence.append(
                Evidence(
                    gene=gene,
                    perturbation=topic.perturbation,
                    cell_type=None if here == "none" else topic.cell_type,
                    cell_type_match=here,  # type: ignore[arg-type]
                    direction=statement.direction,  # type: ignore[arg-type]
                    cue=statement.trigger,
                    negated=statement.negated,
                    sentence=sentence,
                    section=section,
                    paper_id=paper.paper_id,
                )
            )
    return evidence, named


def verdicts(
    topic: Topic, evidence: Sequence[Evidence], named: Mapping[str, int], publications: Mapping[str, int]
) -> list[GeneLiterature]:
    """Combine all papers per gene of the topic. A paper has one vote, half of one if it is about other cells.

    A paper with conflicting sentences votes for their majority, or not at all.
    """
    votes: dict[str, dict[int, float]] = {gene: {-1: 0.0, 0: 0.0, 1: 0.0} for gene in topic.genes}
    for gene, items in _by_paper(evidence):
        signs: list[int] = [item.direction for item in items]
        first, *others = sorted({-1, 0, 1}, key=lambda sign: -signs.count(sign))
        if signs.count(first) > signs.count(others[0]):
            right_cells = topic.cell_type is None or any(item.cell_type_match != "none" for item in items)
            votes[gene][first] += 1.0 if right_cells else ELSEWHERE
    return [
        GeneLiterature(
            gene=gene,
            asked_because=why,
            publications=publications.get(gene),
            n_papers=named.get(gene, 0),
            up=votes[gene][1],
            down=votes[gene][-1],
            unchanged=votes[gene][0],
            direction=_direction(votes[gene]),
        )
        for gene, why in topic.genes.items()
    ]


def _by_paper(evidence: Sequence[Evidence]) -> Iterator[tuple[str, list[Evidence]]]:
    groups: dict[tuple[str, str], list[Evidence]] = {}
    for item in evidence:
        groups.setdefault((item.gene, item.paper_id), []).append(item)
    for (gene, _), items in groups.items():
        yield gene, items


def _direction(votes: Mapping[int, float]) -> Direction | None:
    total = sum(votes.values())
    net = (votes[1] - votes[-1]) / total if total else 0.0
    return 1 if net >= MAJORITY else -1 if net <= -MAJORITY else None


def names_topic(text: str, pattern: re.Pattern[str] | None) -> bool:
    """Whether a title or abstract names the perturbation."""
    return bool(pattern and pattern.search(plain(text)))
