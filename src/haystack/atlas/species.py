"""Species of the cells and genes of a file: from its columns, then from ids, then from spelling."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from haystack.atlas.columns import LabelColumn, count_labels, n_rows, obs_columns, read_labels, texts
from haystack.atlas.symbols import GENOME_PREFIX
from haystack.errors import AtlasError
from haystack.knowledge.retired import current_symbols

if TYPE_CHECKING:
    from collections.abc import Sequence

    from haystack.atlas.store import Store

ENSEMBL = re.compile(r"^ENS([A-Z]{3,4})?G\d{6,}(\.\d+)?$")
ADVICE = "Keep human cells with human genes only (map others to human orthologs first) and write the file again"
FEW_FOREIGN = 0.1
"""share of genes of other species (viruses, spike-ins, reporters) up to which they are left out rather than refused"""

_COLUMN = re.compile(r"organism|species|taxon|taxid", re.IGNORECASE)
_UNS = ("organism_ontology_term_id", "organism", "species", "genome", "assembly", "reference_genome")
_HUMAN = re.compile(
    r"^(ncbitaxon[:_]9606|9606|human|homo[ _.]?sapiens( \(human\))?|h\.? ?sapiens|hsapiens|hs|hsa|hg\d\d|"
    r"grch3\d(\.p\d+)?|"
    r"chm13.*|t2t.*)$",
    re.IGNORECASE,
)
_OTHERS = (
    "mouse|murine|mus|mm|mmu|mmusculus|rat|rno|rattus|rhesus|rhesus macaque|rhesus monkey|macaque|monkey|cynomolgus|"
    "cynomolgus macaque|marmoset|chimp|chimpanzee|bonobo|gorilla|orangutan|gibbon|baboon|lemur|mouse "
    "lemur|pig|boar|cow|"
    "bovine|cattle|sheep|goat|horse|dog|canine|cat|feline|rabbit|hamster|guinea "
    "pig|ferret|bat|opossum|platypus|chicken|"
    "zebrafish|fish|medaka|frog|xenopus|axolotl|fly|fruit fly|drosophila|worm|nematode|c\\.? "
    "?elegans|yeast|arabidopsis|"
    "plant|virus|sars-cov-2|bacteria|e\\.? ?coli|spike-in"
)
_OTHER_WORDS = re.compile(
    rf"^(ncbitaxon[:_]\d+|\d{{3,8}}|({_OTHERS})s?|mm\d\d?|grcm3\d|rn\d|mmul_?\d+|danrer\d+|grcz\d+|susscr\d+)$",
    re.IGNORECASE,
)
_BINOMIAL = re.compile(r"^[A-Z][a-z]+[ _][a-z]{3,}( [a-z]+)?( \([^)]*\))?$|^[A-Z]\. ?[a-z]{4,}$")
_FOREIGN_ID = re.compile(r"^(ENS[A-Z]{3,4}G\d{6,}|MGP_\w+_G\d+|FBgn\d{7}|WBGene\d{8}|AT[1-5CM]G\d{5})")
_BESIDE_ID = re.compile(r"[|:;, _/-]ENS[A-Z]{3,4}G\d{6,}")
_MOUSE_ONLY = re.compile(r"^(\d{5,}[A-Z]\d{2}RIK\d?|GM\d{4,5})$", re.IGNORECASE)
"""names that only genes of the mouse have, even in upper case"""
_FOREIGN_STARTS = ("ENS", "MGP_", "FBgn", "WBGene", "AT")
_HUMAN_PREFIX = re.compile(r"^_*(GRCh|hg|human)", re.IGNORECASE)
_MHC = re.compile(r"^(MAMU|MAFA|PATR|SLA|BOLA|DLA|RT1|H2)-[A-Z0-9]", re.IGNORECASE)
_TITLE = re.compile(r"^(?!Gene)[A-Z][a-z]{1,5}[a-z0-9-]*$")
_UPPER = re.compile(r"^[A-Z][A-Z0-9-]+$")
_LOWER = re.compile(r"^[a-z][a-z0-9-]*([:.][a-z0-9.:-]+)?$")


@dataclass
class Organisms:
    """Species according to a file's own columns."""

    column: str | None = None
    """obs column, or `uns['...']`"""
    labels: LabelColumn | None = None
    """labels of the obs column, if cells differ"""
    human: list[bool] = field(default_factory=list)
    """per category of `labels`, and last for cells without a label"""
    left_out: dict[str, int] = field(default_factory=dict)
    """other species -> cells"""
    said_human: bool = False
    harmonised: bool = False
    """whether the atlas was already checked"""

    @classmethod
    def unread(cls, store: Store) -> Organisms:
        """Assumption for an atlas that is already harmonised: its column, if it has one, was checked then."""
        column = next(filter(_COLUMN.search, obs_columns(store)), None)
        return cls(column, said_human=column is not None, harmonised=True)

    def is_human(self, start: int, stop: int) -> np.ndarray | None:
        """Whether cells start to stop are human; None if all are."""
        return None if self.labels is None else np.array(self.human)[self.labels.codes(start, stop)]


def read_organisms(store: Store) -> Organisms:
    """Species of the cells, from an obs column or from uns.

    Raises
    ------
    AtlasError
        when no cell is human.
    """
    columns = sorted(filter(_COLUMN.search, obs_columns(store)), key=lambda name: ("term" not in name, name))
    for column in columns:
        try:
            labels = read_labels(store, column, "obs")
        except AtlasError:
            continue
        human = [bool(_HUMAN.match(label.strip())) for label in labels.categories]
        other = [not ours and _is_other(label) for label, ours in zip(labels.categories, human, strict=True)]
        counts = count_labels(labels, n_rows(store, "obs"))
        present = counts[:-1] > 0
        if not (present & (np.array(human, dtype=bool) | np.array(other, dtype=bool))).any():
            continue
        if not (present & np.array(human, dtype=bool)).any():
            found = labels.categories[int(np.argmax(counts[:-1]))]
            raise store.error(f"holds no human cells: obs column '{column}' says {found}. {ADVICE}")
        if all(ours for ours, here in zip(human, present, strict=True) if here):
            return Organisms(column, said_human=True)
        left = {
            label: int(n) for label, n, ours in zip(labels.categories, counts, human, strict=False) if n and not ours
        }
        if counts[-1]:
            left["without a label"] = int(counts[-1])
        return Organisms(column, labels, [*human, False], left, said_human=True)
    for key in _UNS:
        said = uns_text(store, key)
        if said is None or not (_HUMAN.match(said) or _is_other(said)):
            continue
        if not _HUMAN.match(said):
            raise store.error(f"holds no human cells: uns['{key}'] says {said}. {ADVICE}")
        return Organisms(f"uns['{key}']", said_human=True)
    return Organisms()


def uns_text(store: Store, key: str) -> str | None:
    """A text of `uns`, or None if it is absent or of another type."""
    try:
        if f"uns/{key}" not in store.root or store.is_group(f"uns/{key}"):
            return None
        value = np.asarray(store.root[f"uns/{key}"][()]).ravel()
    except (ValueError, TypeError, KeyError, NotImplementedError):
        return None
    return texts(value)[0].strip() if value.size == 1 and value.dtype.kind in "OSUT" else None


def foreign_genes(names: Sequence[str], ids: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Which genes are of another species according to genome prefix, Ensembl id or a reference column of var.

    Parameters
    ----------
    names, ids, references
        per gene: name, id (empty if it has none), genome or taxon from a column.

    Returns
    -------
    ndarray of bool, (n,)
    """
    current = current_symbols()
    others = {reference for reference in set(references) if reference and _is_other(reference)}
    foreign = np.zeros(len(names), dtype=bool)
    for i, (name, other, reference) in enumerate(zip(names, ids, references, strict=True)):
        if reference in others or (other and not other.startswith("ENSG") and _FOREIGN_ID.match(other)):
            foreign[i] = True
        elif name in current:
            continue
        elif "_" in name and (match := GENOME_PREFIX.match(name)):
            foreign[i] = not _HUMAN_PREFIX.match(match[1])
        elif name.startswith(_FOREIGN_STARTS) or "ENS" in name:
            foreign[i] = _FOREIGN_ID.match(name) is not None or _BESIDE_ID.search(name) is not None
    return foreign


def refuse_other_species(
    store: Store, names: Sequence[str], ids: Sequence[str], foreign: np.ndarray, organisms: Organisms
) -> None:
    """Raise an AtlasError for genes of two species, or of one that is not human.

    `foreign` (from foreign_genes) is what the file states; spelling (Actb in mouse and rat, actb1 in zebrafish, MAMU-A
    in rhesus) counts unless human Ensembl ids contradict it.
    """
    share = float(foreign.mean()) if len(foreign) else 0.0
    if share > FEW_FOREIGN:
        at = int(np.argmax(foreign))
        example = ids[at] if _FOREIGN_ID.match(ids[at]) else names[at]
        kinds = sorted({match[1] for name in names if "_" in name and (match := GENOME_PREFIX.match(name))})
        if share > 0.5:
            raise store.error(
                f"does not hold human genes (found {example}); the model knows human genes only. {ADVICE}"
            )
        if organisms.column is None or organisms.column.startswith("uns["):
            how = f"gene names begin with {', '.join(kinds)}" if len(kinds) > 1 else _mixed_ids(names, ids)
            raise store.error(f"mixes species: {how}. {ADVICE}")
    if organisms.harmonised:
        return
    human_ids = sum(name.startswith("ENSG") for name in ids) + sum(name.startswith("ENSG") for name in names)
    if human_ids <= 0.5 * len(names):
        _refuse_spelling(store, [name for name, other in zip(names, foreign, strict=True) if not other], organisms)


def _is_other(word: str) -> bool:
    word = word.strip()
    return not _HUMAN.match(word) and bool(_OTHER_WORDS.match(word) or _BINOMIAL.match(word))


def _mixed_ids(names: Sequence[str], ids: Sequence[str]) -> str:
    found = sorted({match[0].rstrip("0123456789.") for name in [*ids, *names] if (match := _FOREIGN_ID.match(name))})
    if not found:
        return "its var names several genomes"
    human = any(name.startswith("ENSG") for name in [*ids, *names])
    return f"{'Ensembl ids of human (ENSG)' if human else 'human symbols'} and {', '.join(found[:3])}"


def _refuse_spelling(store: Store, symbols: list[str], organisms: Organisms) -> None:
    murine = [symbol for symbol in symbols if _MOUSE_ONLY.match(symbol)]
    if len(murine) >= max(3, 0.005 * len(symbols)):
        raise store.error(
            f"does not hold human genes (found {murine[0]} and {len(murine) - 1:,} more names that only genes of the "
            f"mouse have). {ADVICE}"
        )
    title = {symbol for symbol in symbols if symbol[1:2].islower() and _TITLE.match(symbol)}
    upper = {symbol for symbol in symbols if _UPPER.match(symbol)} if title else set()
    twins = sorted(symbol for symbol in title if symbol.upper() in upper)
    if len(twins) >= max(3, 0.01 * len(symbols)) or (
        min(len(title), len(upper)) >= max(10, 0.2 * len(symbols)) and len(title) + len(upper) > 0.8 * len(symbols)
    ):
        example = twins[0] if twins else sorted(title)[0]
        human = example.upper() if twins else sorted(upper)[0]
        raise store.error(
            f"mixes species: {len(title):,} genes spelt as in mouse ({example}) beside human {human}. {ADVICE}"
        )
    if len(title) > 0.5 * len(symbols):
        raise store.error(
            f"does not hold human genes (found {sorted(title)[0]}, spelt as in mouse or rat); the model knows human "
            f"genes only. {ADVICE}"
        )
    mhc = sorted({symbol for symbol in symbols if "-" in symbol and _MHC.match(symbol)})
    if len(mhc) > 1 and not any(symbol.upper().startswith("HLA-") for symbol in symbols):
        raise store.error(f"does not hold human genes (found {mhc[0]}); the model knows human genes only. {ADVICE}")
    if not organisms.said_human:
        _refuse_lower_case(store, symbols)


def _refuse_lower_case(store: Store, symbols: list[str]) -> None:
    lower = [symbol for symbol in symbols if symbol[:1].islower() and _LOWER.match(symbol)]
    if len(lower) <= 0.5 * len(symbols):
        return
    human = [symbol for symbol in lower if symbol.upper() in current_symbols()]
    fish = [symbol for symbol in lower if re.match(r"^(si|zgc|im|wu|cabz|ch\d+):|^[a-z]+\d*[ab]$", symbol)]
    if len(human) + len(fish) > 0.2 * len(lower):
        example = next((symbol for symbol in lower if symbol not in set(human)), lower[0])
        raise store.error(
            f"does not hold human genes (found {example}, spelt in lower case as in zebrafish or frog). {ADVICE}. If "
            "they "
            "are human genes in lower case, write them in upper case: adata.var_names = adata.var_names.str.upper()"
        )
