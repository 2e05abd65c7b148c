"""`query.asked` is the one place that says what is asked; the flat names of `query.json` are derived from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from haystack.contracts import Asked, Perturbation, StructuredQuery, read_json, write_json
from haystack.errors import ContractError

MAIN = Perturbation(
    query="IFN-b", name="IFN-beta", type="cytokine", synonyms=["interferon beta"], expected_targets={"ISG15": 1}
)
FLAT = {
    "raw_query": "?",
    "task_type": "perturbation_novel_cell_types",
    "cell_type_query": "B cells",
    "cell_type_cl_id": "CL:0000236",
    "perturbation_query": "IFN-b",
    "perturbation_resolved": "IFN-beta",
    "perturbation_type": "cytokine",
    "perturbation_synonyms": ["interferon beta"],
    "perturbation_dose": "10 ng/ml",
    "perturbations": [MAIN.model_dump(exclude={"resolved"})],
    "expected_targets": ["ISG15"],
    "expected_target_directions": {"ISG15": 1},
    "expected_marker_genes": ["MS4A1"],
    "target_tissue": "UBERON:0000178",
    "target_donor_id": "D7",
    "reference_dataset": "Kang",
}
"""`query.json` as it was before it held `asked`"""


def write(path: Path, data: dict[str, object]) -> Path:
    path.write_text(json.dumps(data))
    return path


def test_a_file_of_flat_names_reads_as_what_is_asked(tmp_path) -> None:
    query = read_json(write(tmp_path / "query.json", FLAT), StructuredQuery)
    asked = query.asked
    assert asked.perturbation == MAIN
    assert (asked.name, asked.direction, asked.dose) == ("IFN-beta", None, "10 ng/ml")
    assert (asked.cells.query, asked.cells.cl_id, asked.cells.markers) == ("B cells", "CL:0000236", ["MS4A1"])
    sample = asked.context
    assert (sample.tissue_uberon_id, sample.donor_id, sample.reference_dataset) == ("UBERON:0000178", "D7", "Kang")
    again = query.model_dump(mode="json")
    again["perturbations"][0].pop("resolved")
    assert {name: again[name] for name in FLAT} == FLAT


def test_what_is_written_reads_back_with_all_flat_names(tmp_path) -> None:
    query = StructuredQuery.model_validate(FLAT)
    write_json(tmp_path / "query.json", query)
    assert FLAT.keys() <= json.loads((tmp_path / "query.json").read_text()).keys()
    assert read_json(tmp_path / "query.json", StructuredQuery) == query


def test_an_unknown_perturbation_is_asked_for_in_its_own_words() -> None:
    query = StructuredQuery.model_validate({k: FLAT[k] for k in ("raw_query", "task_type", "perturbation_query")})
    assert query.asked.perturbation == Perturbation(query="IFN-b", name="IFN-b", resolved=False)
    assert (query.perturbation_query, query.perturbation_resolved) == ("IFN-b", None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target_donor_id": "D8"}, "target_donor_id is 'D8', but `asked` says 'D7'"),
        ({"expected_targets": ["MX1"]}, "expected_targets"),
        ({"cell_type_name": 3}, "cell_type_name"),
    ],
)
def test_flat_names_that_say_otherwise_are_refused(tmp_path, change, words) -> None:
    data = StructuredQuery.model_validate(FLAT).model_dump(mode="json") | change
    with pytest.raises(ContractError, match=words):
        read_json(write(tmp_path / "query.json", data), StructuredQuery)


def test_expectations_of_no_perturbation_are_refused(tmp_path) -> None:
    data = {"raw_query": "?", "task_type": "perturbation_novel_cell_types", "expected_targets": ["ISG15"]}
    with pytest.raises(ContractError, match="expected_targets are given, but no perturbation"):
        read_json(write(tmp_path / "query.json", data), StructuredQuery)


def test_the_main_perturbation_of_a_combination_is_the_first() -> None:
    lost = Perturbation(query="STAT1 KO", name="STAT1 knock-out", type="genetic", direction=-1)
    asked = Asked(perturbations=[lost, MAIN])
    assert (asked.perturbation, asked.direction, Asked().perturbation) == (lost, -1, None)
