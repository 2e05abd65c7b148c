"""Only human genes are counted: other features, other species and other names are left out, repaired or refused."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.atlas import check_atlas, harmonize_atlas, read_rows
from haystack.atlas.genes import read_genes
from haystack.atlas.index import read_warnings
from haystack.atlas.store import open_atlas
from haystack.atlas.symbols import repair_symbols
from haystack.config import AtlasEntry
from haystack.errors import AtlasError
from haystack.knowledge.genetic import ensembl_symbols

HUMAN = [
    "A2M",
    "CD4",
    "CD8A",
    "LYZ",
    "NKG7",
    "ACTB",
    "GAPDH",
    "ISG15",
    "MX1",
    "STAT1",
    "CXCL10",
    "IRF1",
    "HLA-A",
    "TP53",
]
HUMAN += ["GZMB", "PRF1", "MS4A1", "CD19", "CD3D", "CD3E"]


def data(names: list[str], **var: list[object]) -> ad.AnnData:
    """24 cells of Poisson counts over the given features."""
    counts = np.random.default_rng(1).poisson(1.5, (24, len(names))).astype("f4")
    obs = pd.DataFrame({"ct": ["B cell", "T cell"] * 12}, index=[f"c{i}" for i in range(24)])
    return ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(var, index=pd.Index(names, dtype=object)))


@pytest.fixture
def entry(tmp_path):
    def write(cells: ad.AnnData, **changes: object) -> AtlasEntry:
        cells.write_h5ad(tmp_path / "x.h5ad")
        values = {"path": str(tmp_path / "x.h5ad"), "obs": {"cell_type": "ct"}, **changes}
        return AtlasEntry.model_validate(values)

    return write


def refused(entry: AtlasEntry, match: str) -> None:
    with pytest.raises(AtlasError, match=match) as caught:
        check_atlas("mine", entry)
    assert entry.path in str(caught.value)


def column(entry: AtlasEntry, gene: str) -> list[float]:
    check_atlas("mine", entry)
    return read_rows(entry, range(24))[:, gene].X.toarray().ravel().tolist()


def test_ensembl_ids_without_any_symbols_are_given_theirs(entry):
    identifier = {symbol: name for name, symbol in ensembl_symbols().items()}
    ids = [f"{identifier[symbol]}.{i}" for i, symbol in enumerate(HUMAN)]
    unknown = "ENSG00000999999.1"
    alone = entry(data([*ids, unknown], length=range(len(ids) + 1)))
    with open_atlas("mine", alone) as store:
        genes = read_genes(store, alone, "var")
    assert genes.symbols == [*HUMAN, unknown]
    assert any("Ensembl ids given their symbol" in note for note in genes.notes())
    assert list(read_rows(alone, [0]).var_names) == [*HUMAN, unknown]
    refused(entry(data(ids, label=HUMAN)), "Set gene_symbols to the var column that holds them.*label")


@pytest.mark.parametrize(
    ("name", "gene", "other"),
    [
        ("feature_types", "Gene Expression", "Antibody Capture"),
        ("feature_types", "Gene Expression", "CRISPR Guide Capture"),
        ("feature_types", "Gene Expression", "a panel of ours"),
        ("feature_type", "RNA", "ADT"),
        ("modality", "rna", "protein"),
        ("feature_biotype", "gene", "spike-in"),
        ("what", "gex", "hto"),
        ("library_type", "Gene Expression", "Peaks"),
        ("feature_types", "protein_coding", "Multiplexing Capture"),
    ],
)
def test_other_features_are_left_out(entry, name: str, gene: str, other: str):
    cells = data([*HUMAN, "CD4"], **{name: [gene] * len(HUMAN) + [other]})
    values = cells.X.toarray()
    values[:, -1] = 500
    cells.X = sparse.csr_matrix(values)
    assert column(entry(cells), "CD4") == cells.X[:, 1].toarray().ravel().tolist()


def test_depth_counts_genes_only_and_says_what_was_left_out(entry, tmp_path):
    cells = data([*HUMAN, "CD4_TotalSeqB", "ERCC-00002"])
    made = entry(cells, read_counts=True)
    harmonize_atlas("mine", made, tmp_path / "c.parquet", tmp_path / "m.tsv")
    total = pd.read_parquet(tmp_path / "c.parquet")["total_counts"]
    assert total.tolist() == cells.X[:, :-2].sum(axis=1).A1.tolist()
    assert any("2 features are no human genes" in warning for warning in read_warnings(tmp_path / "c.parquet"))


def test_a_feature_without_id_is_no_repeat_of_a_gene(entry):
    ids = [f"ENSG{i:011d}" for i in range(len(HUMAN))] + ["CD4"]
    cells = data([*HUMAN, "CD4-1"], gene_ids=ids)
    assert column(entry(cells), "CD4") == cells.X[:, 1].toarray().ravel().tolist()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("IL8", "CXCL8"),
        ("CTGF", "CCN2"),
        ("SEPT7", "SEPTIN7"),
        ("7-Sep", "SEPTIN7"),
        ("Sep-07", "SEPTIN7"),
        ("2023-09-07 00:00:00", "SEPTIN7"),
        ("7-Sep-2023", "SEPTIN7"),
        ("44081", "SEPTIN7"),
        ("41154", "SEPTIN2"),
        ("1-Mar", "MARCHF1"),
        ("X5.Mar", "MARCHF5"),
        ("HLA.DRA", "HLA-DRA"),
        ("MT.CO1", "MT-CO1"),
        ("MARCH1", "MARCHF1"),
        ("ACTB-1", "ACTB"),
        ("ACTB.2", "ACTB"),
        ("HLA.A.1", "HLA-A"),
        ("NKX2-1", "NKX2-1"),
        ("AL627309.1", "AL627309.1"),
        ("CD20", "CD20"),
        ("RP11-34P13.7", "RP11-34P13.7"),
    ],
)
def test_names_are_repaired_where_it_is_certain(before: str, after: str):
    found, repaired = repair_symbols([*HUMAN, before.upper()])
    assert found[-1] == after
    assert bool(repaired) == (before.upper() != after)


def test_what_is_not_certain_stays():
    assert repair_symbols(["IL8", "CXCL8"])[0] == ["IL8", "CXCL8"]  # one annotation, so two genes
    assert repair_symbols(["1-MAR", "1-MAR"])[0] == ["1-MAR", "1-MAR"]  # MARCHF1 and MTARC1, nobody knows which


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ([f"chr1:{i}00-{i}99" for i in range(1, 20)], r"genomic regions \(peaks\)"),
        ([f"chrX-{i}00-{i}99" for i in range(1, 20)], r"genomic regions \(peaks\)"),
        ([str(i) for i in range(100, 120)], "numbers"),
        ([f"ENST{i:011d}" for i in range(20)], "transcripts"),
        ([f"{i}_at" for i in range(1000, 1020)], "probes"),
    ],
)
def test_what_is_no_gene_is_refused_with_every_model(entry, names: list[str], what: str):
    refused(entry(data(names)), f"{what}.*Set gene_symbols")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("organism_ontology_term_id", "NCBITaxon:9544"),
        ("organism", "Mus musculus"),
        ("species", "mouse"),
        ("Species", "Callithrix jacchus"),
        ("donor_organism", "rhesus macaque"),
    ],
)
def test_other_species_by_column_and_uns(entry, key: str, value: str):
    cells = data(HUMAN)
    cells.obs[key] = value
    refused(entry(cells), f"no human cells: obs column '{key}' says {value}")
    if key[0] != "S" and key[0] != "d":
        cells = data(HUMAN)
        cells.uns[key] = value
        refused(entry(cells), rf"no human cells: uns\['{key}'\] says {value}")


@pytest.mark.parametrize("value", ["Homo sapiens", "human", "NCBITaxon:9606", "9606", "hg38"])
def test_human_by_column(entry, value: str):
    cells = data([gene.lower() for gene in HUMAN])
    cells.obs["organism"] = value
    assert len(column(entry(cells), "ACTB")) == 24


def test_cells_of_other_species_are_left_out_and_said(entry, tmp_path):
    cells = data(HUMAN)
    cells.obs["species"] = ["human"] * 10 + ["mouse"] * 8 + ["doublet"] * 6
    harmonize_atlas("mine", entry(cells), tmp_path / "c.parquet", tmp_path / "m.tsv")
    assert pd.read_parquet(tmp_path / "c.parquet")["row"].tolist() == list(range(10))
    warnings = " ".join(read_warnings(tmp_path / "c.parquet"))
    assert "8 cells of another species" in warnings
    assert "6 cells of another species" in warnings


@pytest.mark.parametrize("prefix", ["ENSMMUG", "ENSMUSG", "ENSRNOG", "ENSDARG", "ENSSSCG"])
@pytest.mark.parametrize("where", ["index", "gene_ids", "ensembl_id"])
def test_ensembl_ids_of_other_species_even_where_symbols_are_given(entry, prefix: str, where: str):
    ids = [f"{prefix}{i:011d}" for i in range(len(HUMAN))]
    if where == "index":
        refused(entry(data(ids, feature_name=HUMAN), gene_symbols="feature_name"), "does not hold human genes")
    else:
        refused(entry(data(HUMAN, **{where: ids})), f"does not hold human genes .found {ids[0]}")


@pytest.mark.parametrize(
    "names",
    [
        ["actb1", "gapdh", "tp53", "rpl3", "stat1a", "isg15", "si:ch211-5", "zgc:1234", "myca", "sox10"],
        ["Actb", "Gapdh", "Trp53", "Rpl3", "Stat1", "Isg15", "Lyz2", "Cd3e"],
        ["MAMU-A", "MAMU-DRA", "ACTB", "GAPDH", "STAT1", "LOC100430123"],
    ],
)
def test_other_species_by_spelling(entry, names: list[str]):
    refused(entry(data(names)), "does not hold human genes")


@pytest.mark.parametrize("name", ['"{}"', "{}|ENSG00000000{:03}", "ENSG00000000{1:03}.4_{0}", "ENSG00000000{1:03}:{0}"])
def test_symbols_are_found_beside_quotes_and_ids(entry, name: str):
    cells = data([name.format(gene, i) for i, gene in enumerate(HUMAN)])
    assert list(read_rows(entry(cells), [0]).var_names) == HUMAN


@pytest.mark.parametrize("name", ["{}|ENSMUSG00000000{:03}", "ENSMUSG00000000{1:03}.4_{0}"])
def test_ids_of_other_species_beside_symbols(entry, name: str):
    refused(entry(data([name.format(gene, i) for i, gene in enumerate(HUMAN)])), "does not hold human genes")


def test_genes_of_the_mouse_in_upper_case(entry):
    refused(entry(data([*HUMAN, "GM10000", "GM1234", "1700001C19RIK"])), "found GM10000 and 2 more names .* mouse")


def test_genes_as_rows_are_named(entry):
    cells = data([f"AAACATACAACC{'ACGT'[i % 4]}{'ACGT'[i // 4]}-1" for i in range(16)])
    refused(entry(cells), "genes as rows and cells as columns")
    cells = data([f"cell_{i}" for i in range(30)])
    cells.obs_names = [*HUMAN, "MX2", "IFIT1", "IFIT2", "IFIT3"]
    refused(entry(cells), r"genes as rows and cells as columns .*\.T\.write_h5ad")


def test_antibodies_that_nothing_tells_from_genes(entry):
    names = [*HUMAN, "CD3", "CD45RA", "CD16", "CD8A", "CD4"]
    refused(entry(data(names)), "antibodies among its genes, such as CD3, CD45RA, CD16.*feature_types")
    kinds = ["Gene Expression"] * len(HUMAN) + ["Antibody Capture"] * 5
    check_atlas("mine", entry(data(names, feature_types=kinds)))
    check_atlas("mine", entry(data([*HUMAN, "CD99-1", "CD24-1", "CD4-1", "CD97"])))


@pytest.mark.parametrize("name", ["HTO3", "B0251 anti-human Hashtag1", "sgRNA_KLF1", "KLF1_gRNA1", "SIRV1", "MULTI-1"])
def test_names_of_other_features(entry, name: str):
    assert list(read_rows(entry(data([*HUMAN, name])), [0]).var_names) == HUMAN


def test_what_names_mean_is_said(entry, tmp_path):
    def warnings(names: list[str]) -> str:
        harmonize_atlas("mine", entry(data(names)), tmp_path / "c.parquet", tmp_path / "m.tsv")
        return " ".join(read_warnings(tmp_path / "c.parquet"))

    assert not warnings(HUMAN)
    assert "2 features repeat the symbol of another; their counts are summed (such as LYZ)" in warnings(
        [*HUMAN, "LYZ", "LYZ"]
    )
    assert "20 of 20 names (A2M_HUMAN, CD4_HUMAN, CD8A_HUMAN) are no known human symbols" in warnings(
        [f"{gene}_HUMAN" for gene in HUMAN]
    )


@pytest.mark.parametrize("virus", ["ENSSASG00005000004", "GRCm38_Actb", "mm10_Xist"])
def test_one_foreign_gene_does_not_refuse_a_human_file(entry, virus: str):
    cells = data([*HUMAN, virus])
    found = read_rows(entry(cells), range(24))
    check_atlas("mine", entry(cells))
    assert list(found.var_names) == HUMAN
