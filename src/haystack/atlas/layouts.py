"""Column names used by public atlases, and layouts recognised by combinations of columns.

Sources: CZ CELLxGENE schemas 5 and 6; scPerturb (Peidl 2024); Tahoe-100M README; sci-Plex (Srivatsan 2020, GSE139944)
and its copies for CPA; Norman 2019 (GSE133344) and Replogle 2022 as published; Parse 10M PBMC; OpenProblems 2023;
Tabula Sapiens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haystack.atlas.species import uns_text

if TYPE_CHECKING:
    from haystack.atlas.store import Store

NAMES: dict[str, tuple[str, ...]] = {
    "cell_type": (
        "celltypeontologytermid", "cellontologyid", "celltype", "celltypes", "cellontologyclass", "authorcelltype",
        "celltypeannotation", "cellannotation", "annotation", "annotations", "freeannotation", "celltypel2",
        "predictedcelltype",
        "majorityvoting", "celltypelabel", "celllabel", "cellclass", "cellidentity", "celltypefine",
        "celltypel1", "cell",
        "cellname", "celllinename", "cellline", "celllines", "line", "seuratannotations", "cluster", "louvain",
        "leiden",
    ),
    "perturbation": (
        "perturbation", "cytokine", "drug", "smname", "productname", "compound", "compoundname", "treatment",
        "treatmentname",
        "perturbationname", "geneticperturbation", "targetgene", "perturbedgene", "genetarget",
        "guideidentity", "guideids",
        "agent", "ligand", "stimulus", "stim", "stimulation", "gene", "condition", "label", "group", "guideid",
        "guide", "sgrna",
        "target", "status", "geneticperturbationid",
    ),
    "donor": (
        "donorid", "donor", "patientid", "patient", "individual", "individualid", "subject", "subjectid",
        "participant",
        "participantid", "ind", "donorname", "replicate",
    ),
    "tissue": ("tissueontologytermid", "tissue", "organtissue", "organ", "tissuename", "tissueoforigin", "bodysite"),
    "disease": ("diseaseontologytermid", "disease", "diseasestate", "diagnosis", "diseasestatus"),
    "condition": (
        "doseum", "dose", "dosevalue", "drugnamedrugconc", "concentration", "doseval", "doseunit",
        "timepointhr", "timepoint", "time",
        "batch",
    ),
    "age": ("developmentstage", "age", "agegroup", "agecategory", "ageyears"),
    "sex": ("sex", "gender"),
    "structure": ("smiles", "canonicalsmiles"),
    "n_genes": ("ngenes", "ngenesbycounts", "genecount", "nfeaturerna", "ngene", "numgenes", "nfeatures"),
    "total_counts": (
        "totalcounts", "ncounts", "ncountrna", "tscpcount", "umicount", "numi", "ncountsumis", "numicounts",
        "umis", "totalumis",
    ),
    "counts": ("counts", "rawcounts", "raw_counts", "raw", "count", "umi", "umis"),
}  # fmt: skip
"""field of an entry -> names of columns (lower case, letters and digits only), the likeliest first"""

KINDS: dict[str, dict[str, Any]] = {
    "perturbation_type": {
        r"crispr|genetic|knock|shrna|sirna|orf": "genetic",
        r"drug|compound|small": "drug",
        r"cytokine|ligand": "cytokine",
    },
    "column": {
        r"cytokine|ligand": "cytokine",
        r"^drug|sm_name|product_name|compound": "drug",
        r"guide|sgrna|grna|^gene$|target_?gene|gene_?target|perturbed_?gene|genetic": "genetic",
    },
}
"""kind of perturbation indicated by a label or the name of a column"""


@dataclass(frozen=True)
class Layout:
    """A layout recognised by a combination of columns."""

    name: str
    description: str
    columns: frozenset[str]
    effect: str | None = None


_LAYOUTS = (
    Layout(
        "tahoe",
        "Tahoe-100M: cancer cell lines, drugs at several doses",
        frozenset({"drug", "drugname_drugconc", "cell_name"}),
    ),
    Layout(
        "parse",
        "Parse Biosciences PBMC: cytokines, several donors",
        frozenset({"cytokine", "donor", "cell_type", "bc1_well"}),
    ),
    Layout("openproblems", "OpenProblems 2023: PBMC, compounds", frozenset({"sm_name", "sm_lincs_id", "SMILES"})),
    Layout("replogle", "Replogle 2022: genome-scale CRISPRi", frozenset({"gene_transcript", "sgID_AB"}), "CRISPRi"),
    Layout(
        "norman",
        "Norman 2019: CRISPRa of genes and pairs of genes",
        frozenset({"guide_identity", "number_of_cells"}),
        "CRISPRa",
    ),
    Layout("sciplex", "sci-Plex: cell lines, compounds at several doses", frozenset({"product_name", "culture_plate"})),
    Layout(
        "scperturb",
        "scPerturb: harmonised perturbation data",
        frozenset({"perturbation", "nperts", "ngenes", "ncounts"}),
    ),
    Layout(
        "tabula_sapiens",
        "Tabula Sapiens: healthy human organs",
        frozenset({"cell_ontology_class", "compartment", "donor"}),
    ),
)


GENERIC = {"condition", "group", "status", "label", "state", "stim", "stimulation", "gene", "target", "sample_type"}
"""columns of NAMES (case-folded) that may hold anything"""


def key_of(column: str) -> str:
    """Name of a column as in NAMES: lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", column.lower())


def layout_of(store: Store, columns: set[str]) -> Layout | None:
    """The public layout of a file, or None."""
    version = uns_text(store, "schema_version")
    if version and "cell_type_ontology_term_id" in columns:
        title = uns_text(store, "title") or "dataset"
        return Layout("cellxgene", f"{title} (CELLxGENE schema {version})", frozenset())
    return next((layout for layout in _LAYOUTS if layout.columns <= columns), None)


def effect_of(store: Store, layout: Layout | None, said: dict[str, Any]) -> tuple[str | None, str]:
    """How genes were changed (genetic_effect of the entry), with the reason."""
    if layout is not None and layout.effect:
        return layout.effect, f"as in {layout.description}"
    texts = [label for labels in said.values() if labels is not None for label in labels.cells]
    texts += [Path(store.path).name]
    for text in texts:
        for pattern, effect in (
            (r"crispr-?i\b|dcas9-?krab|interference", "CRISPRi"),
            (r"crispr-?a\b|activation", "CRISPRa"),
            (r"\borf\b|overexpress", "ORF"),
            (r"knock-?out|crispr-?(cas9|ko)|\bko\b", "knock-out"),
        ):
            if re.search(pattern, text, re.IGNORECASE):
                return effect, f"by '{text}'"
    return None, ""


def line_in_name(path: str) -> str | None:
    """A cell line in the name of a file."""
    match = re.search(
        r"(?<![A-Za-z0-9])(K562|RPE-?1|HEK-?293T?|HepG2|Jurkat|A549|MCF-?7|HeLa|THP-?1|HAP1|U2OS|HCT116|A375)(?![A-Za-z0-9])",
        Path(path).name.replace("_", " "),
        re.IGNORECASE,
    )
    return match[1] if match else None
