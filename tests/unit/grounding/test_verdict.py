"""Three answers: a list that moves as expected, one that moves the other way, and what cannot be told."""

from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import numpy as np

from haystack.config import DESettings
from haystack.contracts.design import Verdict
from haystack.grounding.arms import compare_arms
from haystack.grounding.de import differential_expression
from haystack.grounding.expectation import Expectation
from haystack.grounding.response import response_of
from haystack.grounding.verdict import Reading, read_verdict


def expect(genes: list[str], sign: int = 1, name: str = "stuff") -> Expectation:
    return Expectation(name, dict.fromkeys(genes, sign), {}, {}, frozenset(genes))


def ask(treated: ad.AnnData, control: ad.AnnData, *questions: Expectation) -> Reading:
    table = differential_expression(treated.X, control.X, list(treated.var_names), DESettings())
    return read_verdict(compare_arms(treated, control), response_of(table, DESettings()), questions[0], questions[1:])


def test_a_weak_response_that_no_gene_shows_alone_is_supported(made: SimpleNamespace) -> None:
    treated, control = made.cells(60, 1, 1.3), made.cells(60, 2)
    table = differential_expression(treated.X, control.X, made.genes, DESettings())
    assert table["is_de"].sum() <= 3
    assert ask(treated, control, expect(made.rise)).verdict is Verdict.SUPPORTED


def test_the_other_way_is_contradicted(made: SimpleNamespace) -> None:
    found = ask(made.cells(60, 1, 3.0), made.cells(60, 2), expect(made.rise, -1))
    assert found.verdict is Verdict.CONTRADICTED
    assert found.effect < 0


def test_nothing_moves_cannot_tell_and_says_the_power(made: SimpleNamespace) -> None:
    for seed in range(5):
        found = ask(made.cells(60, 10 + seed), made.cells(60, 20 + seed), expect(made.rise))
        assert found.verdict is Verdict.CANNOT_TELL
        assert 0 < found.detectable < 0.5


def test_genes_that_vary_together_are_no_evidence(made: SimpleNamespace) -> None:
    """A third of the cells of either arm express the whole list: by chance more of them lie in the first arm."""
    rng = np.random.default_rng(3)
    supported = 0
    for seed in range(10):
        cells = made.cells(120, seed)
        dense = cells.X.toarray()
        dense[np.ix_(rng.permutation(120)[:40], range(30))] *= 4
        cells.X = dense
        supported += ask(cells[:60], cells[60:], expect(made.rise)).verdict is Verdict.SUPPORTED
    assert supported <= 1


def test_a_better_explanation_is_named(made: SimpleNamespace) -> None:
    question = expect([*made.rise[:2], *made.genes[100:106]])
    found = ask(made.cells(60, 1, 4.0), made.cells(60, 2), question, expect(made.rise[2:], name="other"))
    assert found.verdict is Verdict.CANNOT_TELL
    assert found.rival == "other"


def test_a_list_that_is_not_expressed_cannot_tell(made: SimpleNamespace) -> None:
    found = ask(made.cells(60, 1, 3.0), made.cells(60, 2), expect(["NOT1", "NOT2", "NOT3"]))
    assert found.verdict is Verdict.CANNOT_TELL
    assert "express 0" in found.sentence
