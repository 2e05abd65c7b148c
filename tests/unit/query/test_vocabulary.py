"""Whole-vocabulary properties of the parser: seeded samples here, every name at night."""

import gzip
import importlib.util
import random
from pathlib import Path
from types import ModuleType

import pytest

from haystack.knowledge import perturbations
from haystack.knowledge.catalogue import catalogue, classes
from haystack.knowledge.genetic import symbols
from haystack.knowledge.mentions import find_substances
from haystack.knowledge.names import key
from haystack.ontology.everyday import everyday_words
from haystack.ontology.index import resources

ROOT = Path(__file__).parents[3]


def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("questions_benchmark", ROOT / "benchmarks" / "questions.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BENCH = benchmark()
SIZES = [pytest.param(60, id="sample"), pytest.param(10**6, id="all", marks=pytest.mark.nightly)]


def drawn(names: list[tuple[str, str]], size: int) -> list[tuple[str, str]]:
    return random.Random(7).sample(names, min(size, len(names)))


@pytest.mark.parametrize("size", SIZES)
def test_names_of_cells_are_read_as_themselves(size: int) -> None:
    names = drawn(list(BENCH.cell_names()), size)
    asked, wrong = BENCH.sweep(names, BENCH.CELL_QUESTIONS, lambda q: [str(q.cell_type_cl_id)], "cell_type_cl_id")
    assert len(wrong) <= 0.01 * asked, wrong


@pytest.mark.parametrize("size", SIZES)
def test_names_of_perturbations_are_read_as_themselves(size: int) -> None:
    names = drawn([(p.name, p.name) for p in perturbations()], size)
    read = BENCH.PERTURBATION_QUESTIONS
    asked, wrong = BENCH.sweep(names, read, lambda q: [p.name for p in q.perturbations], "perturbation")
    assert len(wrong) <= 0.01 * asked, wrong


@pytest.mark.parametrize(
    "size", [pytest.param(40, id="sample"), pytest.param(1000, id="1000", marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize(
    ("ontology", "questions", "field"),
    [
        ("UBERON", BENCH.TISSUE_QUESTIONS, "target_tissue"),
        ("MONDO", BENCH.DISEASE_QUESTIONS, "target_disease_state"),
    ],
)
def test_labels_of_tissues_and_diseases_are_read_as_themselves(
    ontology: str, questions: tuple[str, ...], field: str, size: int
) -> None:
    names = BENCH.term_names(ontology, size, seed=7)
    asked, wrong = BENCH.sweep(names, questions, lambda q: [str(getattr(q, field))], field)
    assert len(wrong) <= 0.02 * asked, wrong


@pytest.mark.parametrize("size", SIZES)
def test_a_negated_name_is_never_a_treatment(size: int) -> None:
    names = [name for name, _ in drawn([(p.name, p.name) for p in perturbations()], size)]
    asked, wrong = BENCH.negated_treatments(names)
    assert asked >= len(names) * len(BENCH.NEGATED) - len(BENCH.NEGATED)
    assert wrong == []


@pytest.mark.parametrize(
    "size", [pytest.param(40, id="sample"), pytest.param(800, id="800", marks=pytest.mark.nightly)]
)
def test_a_gene_that_is_acted_on_is_that_gene_in_that_direction(size: int) -> None:
    """Those whose symbols name cells, tissues, lines or species too are always among them."""
    others = ["ATM", "SST", "PDC", "SCT", "MYOF", "HR", "VIP", "TH", "FAP", "CA1", "HAP1", "CAT", "BCR"]
    sample = random.Random(7).sample(sorted(set(symbols().values())), size)
    asked, wrong = BENCH.acted_on_genes([*others, *sample])
    assert asked == 9 * (size + len(others))
    assert wrong == []


def test_no_pair_of_everyday_words_becomes_a_name_that_is_written_in_one() -> None:
    """`differ in` was Differin: keys leave blanks out, so that pairs which make a key must not match."""
    everyday = everyday_words()
    written = {name for p in (catalogue() | classes()).values() for name in (p.name, *p.synonyms)}
    glued = {key(name): name for name in written if " " not in name}
    pairs = [
        (compact[:cut], compact[cut:])
        for compact in glued
        for cut in range(2, len(compact) - 1)
        if compact[:cut] in everyday and compact[cut:] in everyday | {"in", "on", "of", "to", "is", "at", "by"}
    ]
    assert len(pairs) >= 8
    for first, second in pairs:
        assert find_substances(f"How do T cells {first} {second} lupus?", []) == [], (first, second)


def test_everyday_words_are_a_plain_sorted_list() -> None:
    words = gzip.decompress((resources() / "everyday.txt.gz").read_bytes()).decode().split()
    assert words == sorted(set(words))
    assert not {"hepatocyte", "ibrutinib", "lung", "asthma"} & set(words)
