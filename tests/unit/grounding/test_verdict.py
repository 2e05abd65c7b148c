"""Three answers: a list that moves as expected, one that moves the other way, and what cannot be told."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import anndata as ad
import numpy as np

from haystack.config import DESettings
from haystack.contracts.design import Verdict
from haystack.grounding.arms import compare_arms
from haystack.grounding.de import differential_expression
from haystack.grounding.expectation import Expectation, without
from haystack.grounding.response import Response, response_of
from haystack.grounding.verdict import RIVAL_Z, Alternatives, Reading, _Genes, _judged, read_verdict


def expect(genes: list[str], sign: int = 1, name: str = "stuff") -> Expectation:
    return Expectation(name, dict.fromkeys(genes, sign), {}, {}, frozenset(genes))


def ask(treated: ad.AnnData, control: ad.AnnData, *questions: Expectation) -> Reading:
    table = differential_expression(treated.X, control.X, list(treated.var_names), DESettings())
    return read_verdict(
        compare_arms(treated, control), response_of(table, DESettings()), questions[0], Alternatives(questions[1:])
    )


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


def test_no_rival_that_stands_out_is_passed_over() -> None:
    """The screen over all known perturbations keeps every one that the exact statistic lets through, and few others."""
    rng = np.random.default_rng(0)
    n = 400
    names = np.array([f"G{index}" for index in range(n)])
    level = rng.gamma(1, 2, n)
    response = Response(
        genes=names,
        log2fc=rng.normal(0, 0.4, n),
        pval=np.ones(n),
        padj=np.ones(n),
        is_de=np.zeros(n, dtype=bool),
        level=level,
        control=level * rng.uniform(0.05, 1, n),
        in_model=frozenset(names),
        log2fc_threshold=0.5,
        padj_threshold=0.05,
    )
    rising = names[np.argsort(-response.log2fc)[:20]]

    def draw(index: int) -> Expectation:
        pool = [*rng.choice(rising, 9), *rng.choice(names, 3), "ABSENT"]
        chosen = dict.fromkeys(rng.permutation(pool)[: rng.integers(0, 13)])
        return replace(
            expect([]),
            name=str(index),
            targets={gene: 1 if gene in rising else int(rng.choice([-1, 1])) for gene in chosen},
        )

    question, others = draw(-1), [draw(index) for index in range(1000)]
    genes = _Genes.of(response)
    wanted = []
    for other in others:
        where, weights = _judged(response, without(other.targets, question.targets))
        if where.size and genes.effect(where, weights)[1] >= RIVAL_Z:
            wanted.append(other.name)
    assert len(wanted) > 10
    assert [other.name for other in Alternatives(others).outstanding(genes, question)] == wanted
    assert Alternatives([]).outstanding(genes, question) == []


def test_what_is_known_of_one_response_is_not_told_of_another(made: SimpleNamespace) -> None:
    """Alternatives and arms keep what the nulls of a prediction ask again."""
    questions = [expect(made.rise), expect(made.rise[::-1][:12], -1, "other"), expect(made.rise[:6], 1, "third")]
    alternatives = Alternatives(questions)
    pairs = [(made.cells(60, 1, size), made.cells(60, 2)) for size in (3.0, 3.5, 1.0)]
    arms = [compare_arms(*pair) for pair in pairs]
    tables = [differential_expression(*(one.X for one in pair), made.genes, DESettings()) for pair in pairs]
    tables[1] = tables[1].iloc[::-1].reset_index(drop=True)
    responses = [response_of(table, DESettings()) for table in tables]
    for _ in range(2):
        for question in questions:
            for pair, response in zip(arms, responses, strict=True):
                fresh = read_verdict(replace(pair), replace(response), question, Alternatives(questions))
                assert read_verdict(pair, response, question, alternatives) == fresh
