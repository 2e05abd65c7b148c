"""Plain words, links, checksums and the rule behind the confidence classes."""

from __future__ import annotations

import hashlib

import pytest

from haystack.contracts import Component, ControlStrategy, PromptGrounding
from haystack.report import provenance
from haystack.report.confidence import classify, weight_share
from haystack.report.provenance import checksum
from haystack.report.template import policy, script_json
from haystack.report.words import count, database_url, doi_url, listed, number, ontology_url, p_value, plural
from haystack.specs import MODELS


def grounding(score: int | None, percentile: float | None, no_change: float = 1.0) -> PromptGrounding:
    return PromptGrounding(
        prompt_id="p",
        components={
            "target_activation": Component(evaluated=True, score=5),
            "literature_support": Component(evaluated=False, reason="offline"),
        },
        weights={"target_activation": 1.0},
        composite_value=score,
        percentile=percentile,
        nulls={"no_change": no_change, "permuted_labels": None},
        control_strategy=ControlStrategy.SYNTHETIC_CONTROL,
        n_de=0,
        n_up=0,
        n_down=0,
    )


@pytest.mark.parametrize(
    ("score", "percentile", "share", "expected"),
    [
        (7, 95, 0.75, "high"),
        (10, 100, 1, "high"),
        (6, 99, 1, "medium"),
        (8, 94, 1, "medium"),
        (8, 99, 0.6, "medium"),
        (8, None, 1, "low"),
        (8, 79, 1, "low"),
        (4, 99, 1, "low"),
        (5, 80, 0.5, "medium"),
        (5, 80, 0.4, "low"),
        (None, None, 0.4, "not scored"),
    ],
)
def test_confidence_rule(score, percentile, share, expected):
    name, reasons = classify(grounding(score, percentile), share)
    assert name == expected
    assert reasons


def test_reasons_say_what_is_missing():
    assert classify(grounding(6, 99), 1)[1] == ["composite score 6.0; high confidence needs 7"]
    assert classify(grounding(8, 60), 1)[1] == ["above 60% of the random draws; medium confidence needs 80%"]
    assert classify(grounding(8, 99, no_change=7.8), 1) == (
        "low",
        ["0.2 points above the best null; medium confidence needs 0.5"],
    )
    assert classify(grounding(8, 99, no_change=7.4), 1)[0] == "medium"
    no_nulls = grounding(8, 99).model_copy(update={"nulls": {}})
    assert classify(no_nulls, 1) == ("low", ["no null was scored; medium confidence needs one"])
    assert classify(None, 0) == ("not scored", ["no prediction was made"])


def test_weight_share_is_over_the_components_that_were_tried():
    weights = {"target_activation": 0.3, "literature_support": 0.1, "marker_gene_expression": 0.6}
    assert weight_share(grounding(5, 50), weights) == pytest.approx(0.75)
    assert weight_share(None, weights) == 0
    assert weight_share(grounding(5, 50), {}) == 0


def test_numbers_as_people_read_them():
    assert p_value(2.14e-8) == "2.1 × 10⁻⁸"
    assert p_value(0.0312) == "0.031"
    assert p_value(0.0) == "below 10⁻³⁰⁰"
    assert p_value(None) == p_value(float("nan")) == number(float("inf")) == "–"
    assert number(-1.234) == "−1.23"
    assert number(-0.004) == "0.00"
    assert count(1, "gene") == "1 gene"
    assert count(12345, "gene") == "12,345 genes"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([]) == ""


def test_plurals_of_cell_types():
    assert plural("B cell") == "B cells"
    assert plural("fibroblast of lung") == "lung fibroblasts"
    assert plural("endothelial cell of lymphatic vessel") == "endothelial cells of lymphatic vessel"
    assert plural("CD4-positive, alpha-beta T cell") == "CD4-positive, alpha-beta T cells"
    assert plural("lymphocytes") == "lymphocytes"


def test_links_are_made_only_from_ids():
    assert ontology_url("CL:0000236") == "http://purl.obolibrary.org/obo/CL_0000236"
    assert ontology_url("javascript:alert(1)") is None
    assert ontology_url(None) is None
    assert database_url("UniProt", "P01574") == "https://www.uniprot.org/uniprotkb/P01574"
    assert database_url("ChEBI", "CHEBI:76612") == "http://purl.obolibrary.org/obo/CHEBI_76612"
    assert database_url("UniProt", "x/../y") is None
    assert database_url("Nowhere", "1") is None
    assert doi_url("https://doi.org/10.1000/a b") is None
    assert doi_url("doi:10.1093/nar/gkad841") == "https://doi.org/10.1093/nar/gkad841"
    assert doi_url('10.1093/"><script>') == "https://doi.org/10.1093/%22%3E%3Cscript%3E"


def test_json_cannot_leave_its_script_tag():
    text = script_json({"gene": "</script><!-- & \u2028"})
    assert not set("<>&\u2028") & set(text)
    assert "\\u003c/script" in text


def test_policy_names_the_scripts_by_hash():
    text = policy(["alert(1)"])
    assert "default-src 'none'" in text
    assert "sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI=" in text


def test_checksums_of_files_folders_and_large_files(tmp_path, monkeypatch):
    path = tmp_path / "model" / "weights.bin"
    path.parent.mkdir()
    path.write_bytes(b"abc")
    assert checksum(path).sha256 == hashlib.sha256(b"abc").hexdigest()
    folder = checksum(path.parent)
    (path.parent / "config.json").write_text("{}")
    assert checksum(path.parent).sha256 != folder.sha256
    assert folder.n_bytes == 3

    monkeypatch.setattr(provenance, "WHOLE_LIMIT", 100)
    monkeypatch.setattr(provenance, "SAMPLE_BYTES", 4)
    path.write_bytes(bytes(range(250)) * 4)
    sampled = checksum(path)
    assert sampled.method == "sampled"
    path.write_bytes(b"\xff" + (bytes(range(250)) * 4)[1:])
    assert checksum(path).sha256 != sampled.sha256


def test_licences_of_stack_bind_only_what_stack_made():
    assert any("CC BY-NC-SA" in text for text in provenance.licences(MODELS.get("stack")))
    baseline = " ".join(provenance.licences(MODELS.get("prompt_mean")))
    assert "baseline 'prompt_mean'" in baseline
    assert "licences of STACK (non-commercial use) concern STACK only and do not bind it" in baseline
    assert "Non-Commercial License" not in baseline
    assert "CC BY-NC-SA" not in baseline


def test_versions_are_those_of_what_a_run_may_use(monkeypatch):
    needed = [
        "anndata>=0.12",
        "arc-stack==0.1.3; extra == 'stack'",
        'fastapi>=0.115; extra == "api"',
        "uvloop>=0.21; sys_platform != 'win32' and extra == 'api'",
        "gcsfs>=2025.3; extra == 'gcp'",
        "snakemake-storage-plugin-gcs==1.1.4; extra == 'gcp'",
        "pytest>=8.3; extra == 'dev'",
    ]
    monkeypatch.setattr(provenance, "requires", lambda name: needed)
    monkeypatch.setattr(provenance, "version", lambda name: "1")
    kept = {"python", "platform", "haystack", "haystack code", "anndata", "arc-stack", "snakemake-storage-plugin-gcs"}
    assert set(provenance.package_versions()) == kept
