"""Which stored features are genes, as opposed to antibodies, guides, hashtags, peaks and spike-ins."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from haystack.atlas.columns import index_name, n_rows, read_labels, read_names
from haystack.errors import AtlasError, suggest
from haystack.knowledge.retired import current_symbols, retired_symbols

if TYPE_CHECKING:
    from haystack.atlas.store import Store

MAX_KINDS = 80
"""largest number of distinct values of a column of kinds or genomes"""

_KIND_COLUMN = re.compile(
    r"(feature|library|assay|probe|gene)[_. ]?(bio)?(type|class|kind)s?$|modalit|^(bio)?types?$|omics?$", re.I
)
_PLAIN_COLUMN = re.compile(
    r"feature|type|modalit|genome|reference|organism|species|omic|class|library|assay", re.IGNORECASE
)
_GENE = re.compile(
    r"^((gene|rna|mrna)[ _-]?(expression|expr|exp|counts?)?|gex|expression|(whole )?transcripts?|transcriptom(e|"
    r"ics?)|genes|"
    r"scrna([ -]?seq)?|snrna([ -]?seq)?|cdna|endogenous)$",
    re.IGNORECASE,
)
_BIOTYPE = re.compile(
    r"^(protein[_ ]coding|lncrna|lincrna|antisense|mi_?rna|sn?o?rna|scarna|srna|scrna|vault_rna|misc_rna|"
    r"rrna(_pseudogene)?|"
    r"mt_[rt]rna|ribozyme|tec|(.*_)?pseudogene|(ig|tr)_.*gene|sense_\w+|processed_transcript|non_coding|macro_lncrna|"
    r"bidirectional_promoter_lncrna|3prime_overlapping_ncrna|artifact|ncrna|trna|protein-coding)$",
    re.IGNORECASE,
)
_NO_GENE = re.compile(
    r"^(antibody([ _-]?(capture|derived tags?))?|antibodies|adts?|abs?eq|ab|totalseq.*|proteins?|prot|"
    r"surface[ _-]proteins?|cite(-?seq)?|"
    r"(crispr|custom)?[ _-]?(sg|g)?(rna )?guides?([ _-](capture|rna|direct capture))?|crispr.*|[sg]grnas?|grnas?|"
    r"sgrnas?|"
    r"(gene )?activity.*|peaks?|atac.*|chromatin[ _-]?accessibility|tiles?|bins?|multiplexing[ _-]capture|hto|"
    r"hashtags?( oligos?)?|"
    r"cmo|cell[ _-]hash\w*|tags?|custom|antigen[ _-]capture|vdj.*|spike[ _-]?ins?|ercc.*|controls?|"
    r"negative[ _]control.*|blank.*|unassigned.*|deprecated.*|barcodes?|metabolites?|lipids?|isoforms?|other|"
    r"mito_tag)$",
    re.IGNORECASE,
)
_REFERENCE_COLUMN = re.compile(r"reference|genome|organism|species|assembly|taxon", re.IGNORECASE)
_ID_COLUMN = re.compile(r"ens(embl|g|_?id)|gene_?ids?$|feature_?ids?$|^ids?$|accession|stable_id", re.IGNORECASE)
_HUMAN_ID = re.compile(r"^ENSG\d{6,}")
_ANY_ID = re.compile(r"^(ENS[A-Z]{0,4}G\d{6,}|MGP_\w+_G\d+|FBgn\d{7}|WBGene\d{8})")
_ID_STARTS = ("ENS", "MGP_", "FBgn", "WBGene")
_NAMED_NO_GENE = re.compile(
    r"^(ercc[-_]\d{5}|sirv[-_ ]?\d+|.*[-_]totalseq-?[abcd]?.*|(adt|hto|ab|cite|prot)[-_:].+|"
    r".+[-_](adt|hto|totala|totalb|totalc|prot)|.*anti[-_. ](human|mouse).*|hashtag[-_ ]?\d+.*|hto[-_ ]?\d+|"
    r"multi-\d+|cmo\d{3}|(sg|g)rna[-_ ].+|.+[-_ ](sg|g)rna[-_ ]?\d*|"
    r"__(ambiguous|no_feature|too_low_aqual|not_aligned|alignment_not_unique)|"
    r"n_(unmapped|multimapping|nofeature|ambiguous)|(negative)?control(probe|codeword).*|(negcontrolprobe|blank-|antisense_).*|"
    r"unassignedcodeword.*|deprecatedcodeword.*)$",
    re.IGNORECASE,
)
_ANTIBODY = re.compile(r"^(CD\d+(R[ABO]|[ABCDL])?|HLA[-.](DR|DQ|DP|ABC|A[-.,]B[-.,]C)|IG[GM]\d[ABC]?)$")
"""names of proteins that no gene has; genes match too, and are told by the table of symbols"""
_BARCODE = re.compile(r"^(.*[^A-Z])?[ACGT]{12,}([-._]\d+)?([-._]\w+)?$")
_BEFORE_NUMBER = re.compile(r"[-.]\d{1,2}$")
_OTHER_NAMES = {
    "genomic regions (peaks)": re.compile(
        r"^(chr)?([0-9]{1,2}|[XYM]|MT|GL\d+\.\d|KI\d+\.\d)[:\-_]\d+[-_]\d+$", re.IGNORECASE
    ),
    "numbers (Entrez ids, or rows counted)": re.compile(
        r"^(entrez[:_]?|geneid[:_]?|ncbigene[:_]?)?\d+(\.0)?$", re.IGNORECASE
    ),
    "Ensembl transcripts": re.compile(r"^ENS[A-Z]{0,4}T\d{6,}"),
    "Ensembl proteins": re.compile(r"^ENS[A-Z]{0,4}P\d{6,}"),
    "RefSeq transcripts": re.compile(r"^[NX][MR]_\d+"),
    "UniProt accessions": re.compile(r"^([OPQ]\d[A-Z0-9]{3}\d|[A-NR-Z]\d[A-Z][A-Z0-9]{2}\d)$"),
    "probes of a microarray": re.compile(r"^(\d+(_[a-z])?_at|ILMN_\d+|A_\d\d_P\d+)$", re.IGNORECASE),
    "HGNC numbers": re.compile(r"^HGNC:\d+$", re.IGNORECASE),
}


def small_columns(store: Store, var: str) -> dict[str, list[str]]:
    """Columns of var with at most MAX_KINDS distinct texts: name -> one text per gene (empty where missing).

    Categorical columns are looked at whatever their name, columns of plain text where their name hints at it.
    """
    columns = {}
    n = n_rows(store, var)
    for column in _columns(store, var):
        key = f"{var}/{column}"
        categories = store.root.get(f"{key}/categories")
        if categories is not None and categories.shape[0] > MAX_KINDS:
            continue
        if categories is None and not _PLAIN_COLUMN.search(column):
            continue
        values = column_texts(store, var, column, n)
        if values is not None and len(set(values)) <= MAX_KINDS:
            columns[column] = values
    if var == "raw/var" and "var" in store.root:
        names, above = feature_names(store, var), feature_names(store, "var")
        for column, values in small_columns(store, "var").items():
            known = dict(zip(above, values, strict=True))
            columns.setdefault(column, [known.get(name, "") for name in names])
    return columns


def column_texts(store: Store, var: str, column: str, n: int) -> list[str] | None:
    """A var column as text, empty if missing; None if it holds no labels."""
    try:
        labels = read_labels(store, column, "var", frame=var)
        words = np.array([*labels.categories, ""], dtype=object)
        return [str(word) for word in words[labels.codes(0, n)]]
    except (AtlasError, KeyError, TypeError, IndexError):
        return None


def gene_ids(store: Store, var: str, names: Sequence[str]) -> list[str]:
    """Ensembl (or other database) id of each feature, empty if it has none: from the index, or a column of ids."""
    own = [name if name.startswith(_ID_STARTS) and _ANY_ID.match(name) else "" for name in names]
    if sum(map(bool, own)) > 0.3 * len(names):
        return own
    for column in filter(_ID_COLUMN.search, _columns(store, var)):
        texts = column_texts(store, var, column, len(names)) or []
        values = [text if text.startswith(_ID_STARTS) and _ANY_ID.match(text) else "" for text in texts]
        if sum(map(bool, values)) > 0.3 * len(names):
            return values
    return own


def feature_kinds(
    columns: dict[str, list[str]], names: Sequence[str], ids: Sequence[str]
) -> tuple[np.ndarray, Counter]:
    """Which features are genes, and how many others there are of each kind.

    Determined by a column of kinds (`feature_types`, `feature_biotype`, or any whose values are all kinds), by names
    such as `ERCC-00002` and `CD4_TotalSeqB`, and by missing ids: if most features have one, a feature without an id
    that repeats the name of one with an id is not a gene.
    """
    is_gene = np.ones(len(names), dtype=bool)
    others: Counter = Counter()
    for column, values in columns.items():
        distinct = {value for value in values if value}
        genes = {value for value in distinct if _GENE.match(value) or _BIOTYPE.match(value)}
        known = genes | {value for value in distinct if _NO_GENE.match(value)}
        if not genes or len(genes) == len(distinct) or (known != distinct and not _KIND_COLUMN.search(column)):
            continue
        for i, value in enumerate(values):
            if value and value not in genes and is_gene[i]:
                is_gene[i] = False
                others[value] += 1
    current = current_symbols()
    for i, name in enumerate(names):
        if name not in current and is_gene[i] and _NAMED_NO_GENE.match(name):
            others["named as no gene"] += 1
            is_gene[i] = False
    if sum(map(bool, ids)) <= 0.5 * int(is_gene.sum()) or all(ids):
        return is_gene, others
    with_id = {name.upper() for name, other in zip(names, ids, strict=True) if _HUMAN_ID.match(other)}
    for i, name in enumerate(names):
        if is_gene[i] and not ids[i] and (name.upper() in with_id or _BEFORE_NUMBER.sub("", name.upper()) in with_id):
            others["no id, the name of a gene"] += 1
            is_gene[i] = False
    return is_gene, others


def reference_columns(columns: dict[str, list[str]], n: int) -> list[str]:
    """Genome or taxon of each feature according to a column; empty texts if there is none."""
    for column, values in columns.items():
        if _REFERENCE_COLUMN.search(column):
            return values
    return [""] * n


def refuse_no_genes(store: Store, var: str, names: Sequence[str], field: str) -> None:
    """Raise an AtlasError if most names are not genes but peaks, numbers, transcripts or probes."""
    unknown = [name for name in names if name not in current_symbols()]
    _refuse_transposed(store, var, unknown, len(names))
    _refuse_antibodies(store, unknown)
    for what, pattern in _OTHER_NAMES.items():
        if len(unknown) <= 0.5 * len(names):
            return
        hits = [name for name in unknown if pattern.match(name)]
        if len(hits) > 0.5 * len(names):
            columns = _columns(store, var)
            hint = suggest("gene_symbols", columns) or f" {var} has no other column; add one with symbols."
            raise store.error(
                f"{field} are {what}, not gene symbols (such as {hits[0]}; {len(hits):,} of {len(names):,}). Set "
                "gene_symbols "
                f"to the {var} column with symbols.{hint}"
            )


def _refuse_transposed(store: Store, var: str, unknown: Sequence[str], n: int) -> None:
    """Raise an AtlasError if features are cells: their names are barcodes, or those of the cells are genes."""
    if len(unknown) < 0.9 * n or not unknown:
        return
    barcodes = sum(_BARCODE.match(name) is not None for name in unknown)
    cells = [str(name).strip().upper() for name in read_names(store, "obs", 0, min(200, n_rows(store, "obs")))]
    genes = sum(name in current_symbols() for name in cells)
    if barcodes > 0.5 * n or genes > 0.5 * len(cells):
        raise store.error(
            f"holds genes as rows and cells as columns ({var} names such as {unknown[0]}, obs names such as "
            f"{cells[0]}). Turn it: anndata.read_h5ad(old).T.write_h5ad(new), with the labels of the cells in obs"
        )


def _refuse_antibodies(store: Store, unknown: Sequence[str]) -> None:
    """Raise an AtlasError if antibodies stand among the genes and nothing tells which they are."""
    genes = current_symbols() | retired_symbols().keys()
    found = [name for name in unknown if _ANTIBODY.match(name.upper()) and name.upper() not in genes]
    if len(found) > 2:
        raise store.error(
            f"has antibodies among its genes, such as {', '.join(found[:3])}, and does not say which features they "
            "are: others have the names of genes. Write it again without them, or with var['feature_types'] "
            "('Gene Expression', 'Antibody Capture')"
        )


def _columns(store: Store, var: str) -> list[str]:
    return [key for key in store.keys(var) if key not in {index_name(store, var), "__categories"}]


def feature_names(store: Store, var: str) -> list[str]:
    """Row names of var."""
    return read_names(store, var, 0, n_rows(store, var)).tolist()
