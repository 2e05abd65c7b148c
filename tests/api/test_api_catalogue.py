"""What questions may name, matched controls, and how a question would be understood."""

import subprocess
import sys

import pandas as pd
import pytest

from haystack.contracts.tables import CELL_SETS, write_table

TYPES = {
    "B": ("CL:0000236", "B cell"),
    "NK": ("CL:0000623", "natural killer cell"),
    "Mono": ("CL:0001054", "CD14 monocyte"),
}


def cell_set(number, atlas, cell_type, perturbation=None, *, kind="cytokine", control=None, cells=50, **more):
    identifier, name = TYPES[cell_type]
    return {
        **dict.fromkeys(CELL_SETS.names),
        "cell_set_id": f"cs_{number:012x}",
        "atlas": atlas,
        "cell_type_cl_id": identifier,
        "cell_type_name": name,
        "perturbation_name": perturbation,
        "perturbation_type": kind if perturbation else None,
        "is_control": perturbation is None if control is None else control,
        "tissue_uberon_id": "UBERON:0000178",
        "tissue_name": "blood",
        "donor_id": f"{atlas}:D1",
        "disease_mondo_id": "PATO:0000461",
        "n_cells": cells,
        **more,
    }


def write_index(live, *rows):
    path = live.settings.work_dir / "shared/results/index/cell_sets.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame([cell_set(number, *row[0], **row[1]) for number, row in enumerate(rows)])
    write_table(path, frame, CELL_SETS)


def row(*parts, **more):
    return parts, more


@pytest.fixture
def indexed(live):
    write_index(
        live,
        row("one", "B", "IFN-beta"),
        row("one", "B", "IFN-beta", donor_id="one:D2", cells=30),
        row("one", "B"),
        row("one", "NK", "IFN-gamma"),
        row("two", "NK", "ibrutinib", kind="drug"),
        row("two", "B", cells=3),
        row("two", "Mono", disease_mondo_id="MONDO:0005300", tissue_name="kidney", tissue_uberon_id="UBERON:0002113"),
    )
    return live


def items(client, kind, **params):
    found = client.get(f"/api/v1/metadata/{kind}", params=params).json()
    assert found["indexed"]
    return found["items"]


def test_metadata_is_distinct_names_with_cells(indexed):
    with indexed.client() as client:
        assert [(i["name"], i["kind"], i["n_cells"]) for i in items(client, "perturbations")] == [
            ("ibrutinib", "drug", 50),
            ("IFN-beta", "cytokine", 80),
            ("IFN-gamma", "cytokine", 50),
        ]
        assert [(i["id"], i["atlases"]) for i in items(client, "cell-types", search="b cell")] == [
            ("CL:0000236", ["one", "two"])
        ]
        assert [i["name"] for i in items(client, "tissues", search="uberon:0002113")] == ["kidney"]
        assert [i["name"] for i in items(client, "donors")] == ["one:D1", "one:D2", "two:D1"]
        atlases = items(client, "atlases")
        assert {i["name"] for i in atlases} == {"parse_pbmc_demo", "openproblems_demo", "tabula_demo"}
        assert all(i["simulated"] for i in atlases)
        page = client.get("/api/v1/metadata/donors", params={"page": 2, "page_size": 2}).json()
        assert ([i["name"] for i in page["items"]], page["total"]) == (["two:D1"], 3)


def test_a_new_index_is_read(indexed):
    with indexed.client() as client:
        assert len(items(client, "donors")) == 3
        write_index(indexed, row("one", "B", "IFN-beta"))
        assert len(items(client, "donors")) == 1


def test_a_broken_index_is_an_error_without_paths(indexed):
    path = indexed.settings.work_dir / "shared/results/index/cell_sets.parquet"
    path.write_bytes(b"PAR1 not whole")
    with indexed.client() as client:
        answer = client.get("/api/v1/metadata/donors")
    assert answer.status_code == 500
    assert str(path) not in answer.text


CONTROLS = {
    "How would monocytes respond to IFN-beta?": (True, ["one"], "matched control cells in one"),
    "How would B cells respond to ibrutinib?": (False, [], "no matched control"),
    "How would B cells respond to TGF-beta?": (True, ["one"], "similar perturbations"),
    "Impute what B cells would look like in kidney": (True, ["one"], "healthy"),
    "Impute what fibroblasts would look like in kidney": (False, [], "original cells"),
}


def test_controls(indexed):
    with indexed.client() as client:
        for question, (available, atlases, words) in CONTROLS.items():
            controls = client.post("/api/v1/runs/validate", json={"query": question}).json()["controls"]
            assert (controls["available"], controls["atlases"]) == (available, atlases), question
            assert words in controls["message"]


def test_understanding(indexed):
    with indexed.client() as client:
        body = {"query": "How would NK cells respond to IFN-beta?", "control_strategy": "query_as_control"}
        found = client.post("/api/v1/runs/validate", json=body).json()
        assert found["valid"]
        assert [(f["field"], f["value"], f["id"]) for f in found["fields"]] == [
            ("cell_type", "natural killer cell", "CL:0000623"),
            ("perturbation", "IFN-beta", "UniProt P01574"),
        ]
        start, end = found["fields"][1]["start"], found["fields"][1]["end"]
        assert found["query"][start:end] == "IFN-beta"
        assert found["structured_query"]["cell_type_cl_id"] == "CL:0000623"
        assert found["controls"]["message"] == "The original cells are the control, as asked."
        unclear = client.post("/api/v1/runs/validate", json={"query": "Tell me about the weather, please"}).json()
        assert not unclear["valid"]
        assert unclear["message"]
        assert unclear["structured_query"] is None
    assert indexed.store.list_runs().total == 0


def test_before_any_index(start_live, tmp_path):
    live = start_live(pipeline_dir=tmp_path)
    with live.client() as client:
        found = client.get("/api/v1/metadata/perturbations", params={"search": "tgf-beta1"}).json()
        assert not found["indexed"]
        assert [(item["name"], item["n_cells"]) for item in found["items"]] == [("TGF-beta1", 0)]
        assert client.get("/api/v1/metadata/donors").json()["items"] == []
        asked = client.post("/api/v1/runs/validate", json={"query": "How would NK cells respond to IFN-beta?"}).json()
        assert asked["controls"]["available"] is None


def test_the_package_is_light_and_the_service_loads_no_science():
    code = (
        "import sys, haystack.api\n"
        "assert not set(sys.modules) & {'fastapi', 'sqlalchemy', 'pyarrow'}\n"
        "import haystack.api.application, haystack.api.server\n"
        "heavy = set(sys.modules) & {'torch', 'scanpy', 'anndata', 'pandas', 'sklearn', 'stack', 'snakemake'}\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
