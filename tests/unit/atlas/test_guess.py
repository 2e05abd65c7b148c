"""`haystack atlas add`: the entries of ten public layouts are right without edits, each guess with its reason."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import sparse

from haystack.atlas import check_atlas, harmonize_atlas
from haystack.atlas.guess import add_entry, guess_entry
from haystack.config import Settings, load_atlases
from haystack.errors import ConfigError

GENES = [
    "CD3D",
    "MS4A1",
    "NKG7",
    "LYZ",
    "ISG15",
    "ACTB",
    "GNLY",
    "IFIT1",
    "CD79A",
    "S100A8",
    "HLA-DRA",
    "MX1",
    "STAT1",
    "IRF1",
]
IDS = [f"ENSG{i:011d}" for i in range(len(GENES))]
N = 120
TYPES = ["B cell", "natural killer cell", "classical monocyte"]
CL = ["CL:0000236", "CL:0000623", "CL:0000860"]
rng = np.random.default_rng(0)
COUNTS = sparse.csr_matrix(rng.poisson(1.5, (N, len(GENES))).astype("f4"))
LOGGED = sparse.csr_matrix(np.log1p(COUNTS.toarray() / COUNTS.sum(axis=1).A1[:, None] * 1e4).astype("f4"))
DEPTH = COUNTS.sum(axis=1).A1


def cycle(*words: object) -> np.ndarray:
    """The words, one after the other, in blocks of ten cells."""
    return np.array(words, dtype=object)[np.arange(N) // 10 % len(words)]


def each(*words: object) -> np.ndarray:
    """The words, one after the other, cell by cell."""
    return np.array(words, dtype=object)[np.arange(N) % len(words)]


def make(obs: dict[str, object], var: pd.DataFrame, X: object = COUNTS) -> ad.AnnData:
    frame = pd.DataFrame(obs, index=[f"AAAC{i}-1" for i in range(N)])
    return ad.AnnData(X.copy(), obs=frame, var=var.copy())


SYMBOLS = pd.DataFrame(index=GENES)
ENSEMBL = pd.DataFrame(
    {"feature_name": GENES, "feature_biotype": "gene", "feature_reference": "NCBITaxon:9606"}, index=IDS
)


def cellxgene(version: str) -> ad.AnnData:
    obs = {
        "cell_type_ontology_term_id": each(*CL),
        "cell_type": each(*TYPES),
        "donor_id": cycle("d1", "d2"),
        "tissue_ontology_term_id": "UBERON:0000178",
        "tissue": "blood",
        "tissue_type": "tissue",
        "disease_ontology_term_id": cycle("PATO:0000461", "MONDO:0007915"),
        "disease": cycle("normal", "systemic lupus erythematosus"),
        "assay_ontology_term_id": "EFO:0009922",
        "assay": "10x 3' v3",
        "sex": "female",
        "sex_ontology_term_id": "PATO:0000383",
        "development_stage": "adult stage",
        "development_stage_ontology_term_id": "HsapDv:0000087",
        "is_primary_data": True,
        "suspension_type": "cell",
        "self_reported_ethnicity": "unknown",
        "observation_joinid": [f"j{i}" for i in range(N)],
    }
    data = make(obs, ENSEMBL, LOGGED)
    data.raw = make(obs, ENSEMBL)
    data.uns |= {"schema_version": version, "title": "PBMC in lupus", "citation": "x"}
    if version.startswith("5"):
        data.obs["organism_ontology_term_id"], data.obs["organism"] = "NCBITaxon:9606", "Homo sapiens"
    else:
        data.uns |= {"organism_ontology_term_id": "NCBITaxon:9606", "organism": "Homo sapiens"}
    return data


def scperturb() -> ad.AnnData:
    return make(
        {
            "perturbation": cycle("control", "dabrafenib", "trametinib"),
            "tissue_type": "cell_line",
            "cell_line": each("A549", "MCF7"),
            "celltype": each("epithelial cell", "lung epithelial cell"),
            "cancer": True,
            "disease": "lung cancer",
            "perturbation_type": "drug",
            "organism": "human",
            "nperts": cycle(0, 1, 1).astype(int),
            "ngenes": 10,
            "ncounts": DEPTH,
            "dose_value": cycle(np.nan, 1.0, 5.0).astype(float),
            "percent_mito": 0.1,
        },
        pd.DataFrame({"ensembl_id": IDS, "ncells": 5}, index=GENES),
    )


def tahoe() -> ad.AnnData:
    return make(
        {
            "sample": cycle("smp_1", "smp_2"),
            "gene_count": 10,
            "tscp_count": DEPTH.astype(int),
            "mread_count": 4,
            "drugname_drugconc": cycle(
                "[('DMSO_TF', 0.0, 'uM')]", "[('Trametinib', 0.5, 'uM')]", "[('Erlotinib', 5.0, 'uM')]"
            ),
            "drug": cycle("DMSO_TF", "Trametinib", "Erlotinib"),
            "cell_line": each("CVCL_0023", "CVCL_0031"),
            "cell_name": each("A549", "MCF7"),
            "sublibrary": "lib_1",
            "BARCODE": [f"01_{i}" for i in range(N)],
            "pcnt_mito": 0.02,
            "S_score": 0.1,
            "phase": "G1",
            "pass_filter": "full",
            "plate": "plate3",
        },
        pd.DataFrame({"gene_name": GENES, "genome": "hg38"}, index=IDS),
    )


def sciplex() -> ad.AnnData:
    return make(
        {
            "cell": [f"A01_{i}" for i in range(N)],
            "cell_type": each("A549", "MCF7", "K562"),
            "dose": cycle(0, 10, 100).astype(int),
            "treatment": cycle("S0000", "S1057", "S1008"),
            "product_name": cycle("Vehicle", "Trametinib", "Erlotinib"),
            "replicate": each("rep1", "rep2"),
            "culture_plate": "plate1",
            "vehicle": cycle(True, False, False).astype(bool),
            "n.umi": DEPTH,
            "Size_Factor": 1.1,
            "pathway": cycle("Vehicle", "MAPK", "EGFR"),
        },
        pd.DataFrame({"id": IDS, "gene_short_name": GENES}, index=IDS),
    )


def norman() -> ad.AnnData:
    return make(
        {
            "guide_identity": cycle(
                "NegCtrl0_NegCtrl0__NegCtrl0_NegCtrl0", "KLF1_NegCtrl0__KLF1_NegCtrl0", "KLF1_MAP2K6"
            ),
            "perturbation": cycle("control", "KLF1", "KLF1_MAP2K6"),
            "read_count": 90,
            "UMI_count": DEPTH.astype(int),
            "coverage": 9.5,
            "gemgroup": each(1, 2).astype(int),
            "good_coverage": True,
            "number_of_cells": 1,
            "cell_line": "K562",
        },
        pd.DataFrame({"gene_name": GENES}, index=IDS),
    )


def replogle() -> ad.AnnData:
    return make(
        {
            "gem_group": each(1, 2).astype(int),
            "gene": cycle("non-targeting", "STAT1", "IRF1"),
            "gene_id": cycle("non-targeting", "ENSG00000115415", "ENSG00000125347"),
            "transcript": cycle("non-targeting", "P1P2", "P1"),
            "gene_transcript": cycle("0_non-targeting", "1_STAT1_P1P2", "2_IRF1"),
            "sgID_AB": cycle("nt_1|nt_2", "STAT1_+|STAT1_-", "IRF1_+|IRF1_-"),
            "mitopercent": 0.1,
            "UMI_count": DEPTH,
            "z_gemgroup_UMI": 0.3,
            "core_scale_factor": 1.0,
            "core_adjusted_UMI_count": DEPTH * 1.1,
        },
        pd.DataFrame({"gene_name": GENES, "chr": "chr1", "in_matrix": True}, index=IDS),
    )


def parse() -> ad.AnnData:
    return make(
        {
            "sample": cycle("s1", "s2"),
            "donor": each("Donor1", "Donor2"),
            "cytokine": cycle("PBS", "IFN-beta", "IL-6"),
            "treatment": cycle("control", "cytokine", "cytokine"),
            "cell_type": each("B Naive", "NK CD56bright", "CD14 Mono"),
            "gene_count": 10,
            "tscp_count": DEPTH.astype(int),
            "mread_count": 3,
            "bc1_well": "A1",
            "bc1_wind": 1,
            "species": "hg38",
        },
        pd.DataFrame({"gene_id": IDS, "genome": "hg38"}, index=GENES),
    )


def openproblems() -> ad.AnnData:
    data = make(
        {
            "dose_uM": cycle(14.1, 1.0, 0.1).astype(float),
            "timepoint_hr": 24,
            "raw_cell_id": [f"r{i}" for i in range(N)],
            "well": "A1",
            "plate_name": cycle("plate_0", "plate_1"),
            "cell_type": each("B cells", "NK cells", "Myeloid cells"),
            "donor_id": each("Donor 1", "Donor 2"),
            "sm_name": cycle("Dimethyl Sulfoxide", "Belinostat", "Dabrafenib"),
            "SMILES": cycle("CS(C)=O", "ONC(=O)C=C", "CC(C)(C)c1"),
            "sm_lincs_id": cycle("LSM-36361", "LSM-1", "LSM-2"),
            "control": cycle(True, True, False).astype(bool),
            "split": "train",
            "library_id": "lib",
        },
        SYMBOLS,
        LOGGED,
    )
    data.layers["counts"] = COUNTS.copy()
    return data


def tabula_sapiens() -> ad.AnnData:
    data = make(
        {
            "organ_tissue": "Blood",
            "method": "10X",
            "donor": each("TSP1", "TSP2"),
            "anatomical_information": "nan",
            "n_counts_UMIs": DEPTH,
            "n_genes": 10,
            "cell_ontology_class": each(*TYPES),
            "free_annotation": each("b", "nk", "mono"),
            "manually_annotated": True,
            "compartment": "immune",
            "gender": each("male", "female"),
        },
        pd.DataFrame({"gene_symbol": GENES, "feature_type": "Gene Expression", "ensemblid": IDS}, index=GENES),
        LOGGED,
    )
    data.layers["raw_counts"] = COUNTS.copy()
    data.layers["decontXcounts"] = sparse.csr_matrix(COUNTS.toarray() * 0.9)
    return data


def ten_x() -> ad.AnnData:
    var = pd.DataFrame(
        {"gene_ids": [*IDS, "CD4"], "feature_types": ["Gene Expression"] * 14 + ["Antibody Capture"]},
        index=[*GENES, "CD4"],
    )
    X = sparse.hstack([COUNTS, sparse.csr_matrix(np.full((N, 1), 300, "f4"))]).tocsr()
    obs = {
        "patient": each("p1", "p2"),
        "stim": cycle("unstim", "IFN-beta"),
        "total_counts": DEPTH,
        "n_genes_by_counts": 10,
        "leiden": each("0", "1", "2"),
        "annotation": each("B cells", "NK cells", "Monocytes"),
        "predicted_doublet": False,
    }
    return make(obs, var, X)


LAYOUTS = {
    "cellxgene_5": (
        cellxgene("5.3.0"),
        {
            "cell_type": "cell_type_ontology_term_id",
            "donor": "donor_id",
            "tissue": "tissue_ontology_term_id",
            "disease": "disease_ontology_term_id",
            "age": "development_stage",
            "sex": "sex",
        },
        {"counts_layer": "raw", "gene_symbols": "feature_name", "control_labels": [], "perturbation_type": None},
    ),
    "cellxgene_6": (
        cellxgene("6.0.0"),
        {"cell_type": "cell_type_ontology_term_id", "donor": "donor_id", "perturbation": None},
        {"counts_layer": "raw", "gene_symbols": "feature_name"},
    ),
    "scperturb": (
        scperturb(),
        {
            "cell_type": "celltype",
            "perturbation": "perturbation",
            "disease": "disease",
            "condition": "dose_value",
            "total_counts": "ncounts",
        },
        {"control_labels": ["control"], "perturbation_type": "drug", "gene_symbols": None},
    ),
    "tahoe": (
        tahoe(),
        {
            "cell_type": "cell_name",
            "perturbation": "drug",
            "condition": "drugname_drugconc",
            "total_counts": "tscp_count",
        },
        {"control_labels": ["DMSO_TF"], "perturbation_type": "drug", "gene_symbols": "gene_name"},
    ),
    "sciplex": (
        sciplex(),
        {"cell_type": "cell_type", "perturbation": "product_name", "condition": "dose", "total_counts": "n.umi"},
        {"control_labels": ["Vehicle"], "perturbation_type": "drug", "gene_symbols": "gene_short_name"},
    ),
    "norman": (
        norman(),
        {"cell_type": "cell_line", "perturbation": "perturbation", "total_counts": "UMI_count"},
        {
            "control_labels": ["control"],
            "perturbation_type": "genetic",
            "genetic_effect": "CRISPRa",
            "gene_symbols": "gene_name",
        },
    ),
    "K562_essential": (
        replogle(),
        {"cell_type": None, "perturbation": "gene", "total_counts": "UMI_count"},
        {
            "control_labels": ["non-targeting"],
            "perturbation_type": "genetic",
            "genetic_effect": "CRISPRi",
            "gene_symbols": "gene_name",
            "constants": {"cell_type": "K562"},
        },
    ),
    "parse": (
        parse(),
        {"cell_type": "cell_type", "perturbation": "cytokine", "donor": "donor", "total_counts": "tscp_count"},
        {"control_labels": ["PBS"], "perturbation_type": "cytokine", "gene_symbols": None},
    ),
    "openproblems": (
        openproblems(),
        {
            "cell_type": "cell_type",
            "perturbation": "sm_name",
            "donor": "donor_id",
            "structure": "SMILES",
            "condition": "dose_uM",
        },
        {
            "control_labels": ["Dimethyl Sulfoxide"],
            "perturbation_type": "drug",
            "counts_layer": "counts",
            "read_counts": True,
        },
    ),
    "tabula_sapiens": (
        tabula_sapiens(),
        {
            "cell_type": "cell_ontology_class",
            "perturbation": None,
            "donor": "donor",
            "tissue": "organ_tissue",
            "sex": "gender",
        },
        {"counts_layer": "raw_counts", "gene_symbols": None},
    ),
    "ten_x": (
        ten_x(),
        {"cell_type": "annotation", "perturbation": "stim", "donor": "patient", "total_counts": "total_counts"},
        {"control_labels": ["unstim"], "perturbation_type": "cytokine", "gene_symbols": None},
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_public_layouts_need_no_edits(name: str, tmp_path: Path):
    data, obs, values = LAYOUTS[name]
    data.write_h5ad(tmp_path / f"{name}.h5ad")
    guess = guess_entry(str(tmp_path / f"{name}.h5ad"))
    add_entry(guess, tmp_path / "atlases.yaml")
    entry = load_atlases(Settings(atlases=str(tmp_path / "atlases.yaml")))[name]
    for key, value in obs.items():
        assert getattr(entry.obs, key) == value, (key, guess.yaml())
    for key, value in values.items():
        assert getattr(entry, key) == value, (key, guess.yaml())
    check_atlas(name, entry)
    harmonize_atlas(name, entry, tmp_path / "c.parquet", tmp_path / "m.tsv")
    cells = pd.read_parquet(tmp_path / "c.parquet")
    assert len(cells) == N
    assert cells["is_control"].sum() == (N if entry.obs.perturbation is None else N // 2 if name == "ten_x" else N // 3)
    assert cells["cell_type_name"].notna().all()


def test_the_entry_is_appended_and_says_why(tmp_path: Path):
    parse().write_h5ad(tmp_path / "my cells.h5ad")
    listed = tmp_path / "atlases.yaml"
    listed.write_text("# ours\nold: {path: a.h5ad, obs: {cell_type: x}}\n")
    guess = guess_entry(str(tmp_path / "my cells.h5ad"))
    add_entry(guess, listed)
    text = listed.read_text()
    assert text.startswith("# ours\nold: {path: a.h5ad, obs: {cell_type: x}}\n\nmy_cells:\n")
    assert yaml.safe_load(text)["my_cells"] == guess.values
    assert "perturbation: cytokine  # 2 labels beside controls, such as " in text
    with pytest.raises(ConfigError, match=r"has an atlas 'my_cells' already.*--name"):
        add_entry(guess, listed)


def test_what_a_label_means_is_asked_where_it_does_not_say(tmp_path: Path):
    data = ten_x()
    data.obs["stim"] = cycle("ctrl", "stim")
    data.write_h5ad(tmp_path / "x.h5ad")
    assert "Say what 'stim' means: perturbation_names: {stim: ...}" in guess_entry(str(tmp_path / "x.h5ad")).yaml()


def test_a_treatment_that_cannot_be_guessed_is_said(tmp_path: Path):
    data = ten_x()
    data.obs["stim"] = np.array([0, 1])[np.arange(data.n_obs) % 2]
    data.write_h5ad(tmp_path / "x.h5ad")
    text = guess_entry(str(tmp_path / "x.h5ad")).yaml()
    assert "# all cells count as untreated. If obs column 'stim' (0, 1) says what was done to them, set" in text


def test_a_disease_is_no_perturbation(tmp_path: Path):
    data = ten_x()
    data.obs = data.obs.drop(columns="stim").assign(condition=cycle("control", "COVID-19"))
    data.write_h5ad(tmp_path / "x.h5ad")
    assert guess_entry(str(tmp_path / "x.h5ad")).entry().obs.perturbation is None
