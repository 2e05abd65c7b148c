"""The grounding component: agreement of papers with the predicted directions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from haystack.config import DESettings
from haystack.contracts.literature import Evidence, GeneLiterature, Literature, Paper
from haystack.grounding.curves import confidence, rise
from haystack.grounding.literature import literature_support
from haystack.grounding.response import Response, response_of

ASKED = [f"G{i}" for i in range(12)]
BACKGROUND = [f"B{i}" for i in range(12)]


def response(moves: Mapping[str, float], level: float = 5.0) -> Response:
    genes = [*ASKED, *BACKGROUND]
    change = np.array([moves.get(gene, 0.0) for gene in genes])
    table = pd.DataFrame(
        {
            "gene": genes,
            "log2fc": change,
            "pval": np.where(change, 1e-9, 0.7),
            "padj": np.where(change, 1e-8, 0.9),
            "mean_perturbed": level,
            "mean_control": level,
            "in_model": True,
            "is_de": change != 0,
        }
    )
    return response_of(table, DESettings())


def literature(
    says: Mapping[str, int], votes: float = 2.0, publications: Mapping[str, int] | None = None
) -> Literature:
    paper = Paper(paper_id="pmid:1", title="T", citation="c", pmid="1", found_by=["PubMed"], text_read="abstract")
    return Literature(
        evaluated=True,
        perturbation="X",
        genes=[
            GeneLiterature(
                gene=gene,
                asked_because="predicted" if gene in ASKED else "background",
                publications=None if publications is None else publications.get(gene, 0),
                up=votes if says.get(gene) == 1 else 0,
                down=votes if says.get(gene) == -1 else 0,
                direction=says.get(gene),
            )
            for gene in (*ASKED, *BACKGROUND)
        ],
        papers=[paper],
        evidence=[
            Evidence(
                gene=gene,
                perturbation="X",
                cell_type_match="none",
                direction=sign,
                cue="induces",
                negated=False,
                sentence=f"X does it to {gene}.",
                section="abstract",
                paper_id="pmid:1",
            )
            for gene, sign in says.items()
        ],
    )


UP = dict.fromkeys(ASKED[:6], 1.0) | dict.fromkeys(ASKED[6:], -1.0)


def test_papers_that_agree_score_high_and_are_named():
    found = literature_support(literature({gene: int(np.sign(UP[gene])) for gene in ASKED[:10]}), response(UP))
    assert found.evaluated
    assert found.value == 1
    assert found.score > 8
    assert found.p_value < 0.01
    assert found.details["supported"] == sorted(ASKED[:10])
    assert found.details["novel"] == sorted(ASKED[10:])
    assert found.details["papers"][0]["pmid"] == "1"
    assert found.details["sentences"][0]["sentence"] == "X does it to G0."


def test_novel_genes_are_not_punished():
    known = {gene: int(np.sign(UP[gene])) for gene in ("G0", "G1", "G6", "G7")}
    few = {gene: UP[gene] for gene in known}
    with_novel = literature_support(literature(known), response(UP))
    without = literature_support(literature(known), response(few))
    assert with_novel.value == without.value == 1
    assert len(with_novel.details["novel"]) == 8


def test_contradicted_is_punished_harder_than_unsupported():
    says = dict.fromkeys(ASKED[:6], 1)
    right = dict.fromkeys(ASKED[:4], 1.0)
    base = literature_support(literature(says), response(right | {"G4": 1.0, "G5": 1.0}))
    silent = literature_support(literature(says), response(right))
    against = literature_support(literature(says), response(right | {"G4": -1.0, "G5": -1.0}))
    assert base.value == 1
    assert silent.value == pytest.approx(4 / 6, abs=1e-6)
    assert against.value == pytest.approx((4 - 2 * 1.5) / 6, abs=1e-6)
    assert base.score > silent.score > against.score
    assert against.details["contradicted"] == ["G4", "G5"]


def test_all_wrong_and_nothing_moved_score_one():
    says = dict.fromkeys(ASKED[:6], 1)
    wrong = literature_support(literature(says), response(dict.fromkeys(ASKED[:6], -1.0)))
    still = literature_support(literature(says), response({}))
    assert (wrong.score, wrong.value) == (1, -1.5)
    assert (still.score, still.value, still.p_value) == (1, 0, 1)


def test_the_null_is_the_exchange_of_movements_by_enumeration():
    """Against all orders of a few genes, computed independently."""
    small = literature({"G0": 1, "G1": 1, "G2": -1})
    few = small.model_copy(update={"genes": [g for g in small.genes if g.gene in {"G0", "G1", "G2", "B0", "B1", "B2"}]})
    moves = {"G0": 1.0, "G1": 1.0}
    hits = np.array([1, 1, 0, 0, 0, 0])
    verdict = np.array([1, 1, -1, 0, 0, 0])
    gains = [(o * verdict > 0).sum() - 1.5 * (o * verdict < 0).sum() for o in map(np.array, permutations(hits))]
    values = np.array(gains) / 3
    found = literature_support(few, response(moves), draws=4000, seed=1)
    assert found.value == pytest.approx(2 / 3, abs=1e-6)
    assert found.null_value == pytest.approx(max(values.mean(), 0), abs=0.03)
    assert found.p_value == pytest.approx(np.mean(values >= 2 / 3 - 1e-9), abs=0.02)
    agreement = (found.value - found.null_value) / (1 - found.null_value) * 3 / 4
    assert found.score == pytest.approx(1 + 9 * rise(agreement) * confidence(found.p_value), abs=1e-3)


def test_much_studied_genes_earn_nothing_by_being_studied():
    """Predicted genes are the published half: exchanged among themselves, their papers agree as often."""
    says = dict.fromkeys(ASKED, 1)
    counts = dict.fromkeys(ASKED, 1000) | dict.fromkeys(BACKGROUND, 3)
    moves = dict.fromkeys(ASKED, 1.0)
    blind = literature_support(literature(says), response(moves))
    fair = literature_support(literature(says, publications=counts), response(moves))
    assert blind.p_value < 0.01
    assert (fair.p_value, fair.score) == (1, 1)


def test_votes_weigh_and_short_lists_say_less():
    one = literature_support(literature({"G0": 1}), response(UP))
    many = literature_support(literature({gene: int(np.sign(UP[gene])) for gene in ASKED}), response(UP))
    assert one.value == many.value == 1
    assert one.score < many.score
    mixed = literature({"G0": 1, "G1": 1})
    mixed.genes[0].up = 9
    found = literature_support(mixed, response({"G0": 1.0, "G1": -1.0}))
    assert found.value == pytest.approx((0.9 - 1.5 * 2 / 3) / (0.9 + 2 / 3), abs=1e-6)


def test_a_fall_that_cannot_be_seen_is_not_judged():
    found = literature_support(literature({"G0": -1}), response({}, level=0.05))
    assert not found.evaluated


@pytest.mark.parametrize(
    ("given", "tested", "reason"),
    [
        (None, True, "literature search is off (offline)"),
        (
            Literature(evaluated=False, reason="no service answered: x", perturbation="X"),
            True,
            "no service answered: x",
        ),
        (literature({"G0": 1}), False, "no gene could be tested"),
        (literature({}), True, "1 papers read, none states a direction for a tested gene"),
    ],
)
def test_not_evaluated_says_why(given, tested, reason):
    found = literature_support(given, response(UP) if tested else None)
    assert (found.evaluated, found.score, found.reason) == (False, None, reason)


def test_the_same_seed_gives_the_same_numbers():
    says = literature(dict.fromkeys(ASKED[:5], 1))
    assert literature_support(says, response(UP), seed=3) == literature_support(says, response(UP), seed=3)
