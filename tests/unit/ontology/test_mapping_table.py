"""Labels of an atlas: a table that a person may correct and a rerun respects."""

import csv
from pathlib import Path

import pytest

from haystack.errors import OntologyError
from haystack.ontology import map_labels

LABELS = {"CD14+ Monocytes": 50, "B cells": 90, "cluster X": 7}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def edit(path: Path, label: str, **changes: str) -> None:
    table = rows(path)
    for row in table:
        if row["label"] == label:
            row.update(changes)
    lines = ["\t".join(table[0])] + ["\t".join(row.values()) for row in table]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_every_label_is_listed_with_its_cells_most_cells_first(tmp_path: Path) -> None:
    out = tmp_path / "mapping.tsv"
    found = map_labels(LABELS, "cell-type", None, out)
    assert [(row["label"], row["id"], row["n_cells"]) for row in rows(out)] == [
        ("B cells", "CL:0000236", "90"),
        ("CD14+ Monocytes", "CL:0001054", "50"),
        ("cluster X", "", "7"),
    ]
    assert found["cluster X"] is None
    assert found["B cells"] is not None
    assert found["B cells"].name == "B cell"


def test_unmapped_labels_are_named_with_their_cells(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    map_labels(LABELS, "cell-type", None, tmp_path / "mapping.tsv")
    assert "cluster X (7 cells)" in caplog.text


def test_an_edited_id_stays_in_a_rerun(tmp_path: Path) -> None:
    out = tmp_path / "mapping.tsv"
    map_labels(LABELS, "cell-type", None, out)
    edit(out, "cluster X", id="CL:0000084")
    edit(out, "B cells", id="CL:0000787")
    for _ in range(2):
        found = map_labels(LABELS, "cell-type", None, out)
        assert found["cluster X"] is not None
        assert (found["cluster X"].id, found["cluster X"].method) == ("CL:0000084", "correction")
        assert found["B cells"] is not None
        assert found["B cells"].id == "CL:0000787"
        assert found["CD14+ Monocytes"] is not None
        assert found["CD14+ Monocytes"].method != "correction"


def test_corrections_win_over_the_resolver_and_may_refuse_a_term(tmp_path: Path) -> None:
    fixed = tmp_path / "fixed.tsv"
    fixed.write_text(
        "kind\tlabel\tid\ncell-type\tB cells\t\ncell-type\tcluster X\tCL:0000576\ntissue\tB cells\tUBERON:0002048\n"
    )
    found = map_labels(LABELS, "cell-type", fixed, tmp_path / "mapping.tsv")
    assert found["B cells"] is None
    assert found["cluster X"] is not None
    assert found["cluster X"].id == "CL:0000576"


def test_rows_of_other_kinds_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "mapping.tsv"
    map_labels({"lung": 3}, "tissue", None, out)
    map_labels({"B cells": 2}, "cell-type", None, out)
    assert [(row["kind"], row["label"]) for row in rows(out)] == [("tissue", "lung"), ("cell-type", "B cells")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\tid\nB cells\tCL:0000236\n", "lacks the column kind"),
        ("kind\tlabel\tid\ncell-type\tB cells\tCL:9999999\n", "line 2.*B cells.*CL:9999999"),
        ("kind\tlabel\tid\ncell-type\tB\tCL:0000236\ncell-type\tB\tCL:0000084\n", "listed twice"),
    ],
)
def test_wrong_corrections_are_refused(tmp_path: Path, text: str, message: str) -> None:
    fixed = tmp_path / "fixed.tsv"
    fixed.write_text(text)
    with pytest.raises(OntologyError, match=message):
        map_labels(LABELS, "cell-type", fixed, tmp_path / "mapping.tsv")


def test_a_missing_corrections_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OntologyError, match=r"absent\.tsv: no such file"):
        map_labels(LABELS, "cell-type", tmp_path / "absent.tsv", tmp_path / "mapping.tsv")


def test_labels_with_blanks_and_quotes_survive_a_rerun(tmp_path: Path) -> None:
    labels = {' "B cells" ': 3, "T\tcells": 2}
    out = tmp_path / "mapping.tsv"
    first = map_labels(labels, "cell-type", None, out)
    assert map_labels(labels, "cell-type", None, out) == first


def test_a_prefix_that_most_of_a_column_shares_is_left_off(tmp_path: Path) -> None:
    labels = dict.fromkeys(("xpd_AT2", "xpd_Ciliated cells", "xpd_Basal", "xpd_Mast", "xpd_pDC", "unknown"), 10)
    found = map_labels(labels, "cell-type", None, tmp_path / "mapping.tsv")
    assert found["xpd_AT2"] is not None
    assert found["xpd_AT2"].name == "pulmonary alveolar type 2 cell"
    assert found["xpd_AT2"].score > 0.85
    meaningful = map_labels(
        dict.fromkeys(("CD4_naive", "CD4_Tcm", "CD4_Tem", "CD4_Treg", "CD4_Tfh"), 10), "cell-type", None, tmp_path / "m"
    )
    assert meaningful["CD4_naive"] is not None
    assert meaningful["CD4_naive"].name == "naive thymus-derived CD4-positive, alpha-beta T cell"
