"""What public atlases call their columns: `preset:` of an atlas's entry fills what the entry does not say itself.

Sources: Parse Biosciences, "10 Million Human PBMCs in a Single Experiment" (dataset page); OpenProblems NeurIPS 2023
single-cell perturbations (file format of task_perturbation_prediction); CZ CELLxGENE schema 5; Tabula Sapiens v2; Arc
Virtual Cell Atlas, Tahoe-100M README; Kang et al. 2018 (GSE96583) as scverse and pertpy distribute it.
"""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "parse_pbmc": {
        "description": "Parse Biosciences 10M PBMC: 12 donors, 90 cytokines and PBS, 24 hours",
        "obs": {"cell_type": "cell_type", "perturbation": "cytokine", "donor": "donor"},
        "constants": {"tissue": "blood", "disease": "normal"},
        "control_labels": ["PBS"],
        "perturbation_type": "cytokine",
    },
    "openproblems": {
        "description": "OpenProblems NeurIPS 2023: PBMC of 3 donors, 144 compounds and DMSO, 24 hours",
        "obs": {
            "cell_type": "cell_type",
            "perturbation": "sm_name",
            "structure": "SMILES",
            "donor": "donor_id",
            "condition": "dose_uM",
        },
        "constants": {"tissue": "blood", "disease": "normal"},
        "control_labels": ["Dimethyl Sulfoxide", "DMSO"],
        "perturbation_type": "drug",
        "counts_layer": "counts",
    },
    "cellxgene": {
        "description": "A dataset in the schema of CZ CELLxGENE",
        "obs": {
            "cell_type": "cell_type_ontology_term_id",
            "donor": "donor_id",
            "tissue": "tissue_ontology_term_id",
            "disease": "disease_ontology_term_id",
            "age": "development_stage",
            "sex": "sex",
        },
        "gene_symbols": "feature_name",
        "counts_layer": "raw",
    },
    "tabula_sapiens": {
        "description": "Tabula Sapiens: healthy human organs",
        "obs": {"cell_type": "cell_ontology_id", "donor": "donor", "tissue": "tissue", "age": "age", "sex": "sex"},
        "constants": {"disease": "normal"},
        "counts_layer": "raw_counts",
    },
    "tahoe": {
        "description": "Tahoe-100M: 50 cancer cell lines, 379 drugs at three doses and DMSO, 24 hours",
        "obs": {
            "cell_type": "cell_name",
            "perturbation": "drug",
            "condition": "drugname_drugconc",
            "n_genes": "gene_count",
            "total_counts": "tscp_count",
        },
        "constants": {"disease": "cancer"},
        "control_labels": ["DMSO_TF"],
        "perturbation_type": "drug",
        "gene_symbols": "gene_name",
    },
    "kang": {
        "description": "Kang et al. 2018: PBMC of 8 lupus patients, with and without interferon beta, 6 hours",
        "obs": {"cell_type": "cell_type", "perturbation": "label", "donor": "replicate"},
        "constants": {"tissue": "blood", "disease": "systemic lupus erythematosus"},
        "control_labels": ["ctrl"],
        "perturbation_names": {"stim": "IFN-beta"},
        "perturbation_type": "cytokine",
    },
}


def with_preset(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with missing values from its preset (null counts as a value); `obs` and `constants` merge key by key.

    Raises
    ------
    KeyError
        for an unknown preset.
    """
    preset = PRESETS[entry["preset"]]
    merged = {**preset, **entry}
    for key in ("obs", "constants"):
        if key in preset and isinstance(entry.get(key, {}), dict):
            merged[key] = {**preset[key], **entry.get(key, {})}
    return merged


def optional_columns(preset: str | None) -> dict[str, str]:
    """Preset columns that some releases of the atlas lack: field of obs -> column.

    If missing, such a column is left out with a warning; cell types and perturbations are always required.
    """
    obs = PRESETS[preset]["obs"] if preset else {}
    return {field: column for field, column in obs.items() if field not in {"cell_type", "perturbation"}}
