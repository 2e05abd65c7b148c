"""Parse genes and actions in names of guides and constructs: `sgGATA1-2`, `KO_STAT1`, `shTP53`.

Every part of a name must be a gene, an action, a control arm, or uninformative (a number, a promoter, a plasmid);
otherwise the name is unknown.
"""

from __future__ import annotations

import re

from haystack.contracts.query import GENETIC_EFFECTS, Perturbation
from haystack.knowledge.genetic import NOT_GENES, ensembl_symbols, gene_symbol, genetic
from haystack.knowledge.retired import retired_symbols
from haystack.ontology.normalise import word_set

EFFECTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("CRISPRa", re.compile(r"crispr[\s_-]?a(?![a-z])|crispr[\s_-]?act|activation|\bsam\b|vp64|vpr\b", re.I)),
    ("ORF", re.compile(r"\borf\b|over[\s_-]?express|\boe\b|\bcdna\b|ectopic|\bgain\b|trans(?:duc|fec)t", re.I)),
    (
        "CRISPRi",
        re.compile(
            r"crispr[\s_-]?i(?![a-z])|interference|knock(?:ed)?[\s_-]?down|\bkd\b|krab|\bs[hi]rna|\brnai\b|silenc|deplet|"
            r"antisense|\baso\b",
            re.I,
        ),
    ),
    (
        "knock-out",
        re.compile(
            r"knock(?:ed)?[\s_-]?outs?|\bkos?\b|crispr[\s_-]?(?:ko|n|cas9)?$|\bcas9\b|nuclease|delet|\bnull\b|lacking|"
            r"deficien|\bloss\b|ablat|disrupt",
            re.I,
        ),
    ),
)
CONTROL_ARM = re.compile(
    r"(?:neg(?:ative)?[\s_-]?)?(?:ctrl|control)s?[\s_-]?\d*|non?[\s_-]?target(?:ing)?[\s_-]?\d*|nt[cg]?[\s_-]?\d*|"
    r"safe[\s_-]?(?:targeting|harbor)?\d*|dmso|pbs|vehicle|veh|mock|saline|untreated|un-?stim(?:ulated)?|igg|isotype|aavs1|intergenic\d*|scrambled?|e?gfp|luc(?:iferase)?|lacz|wt",
    re.IGNORECASE,
)
# Parts of a guide's name that say nothing about the gene.
NOISE = re.compile(
    r"(?i:sg|g|gr|sgr|sh|si|cr|guide|[gs]?grna|rep|oligo|pool|clone|#)?[\s_-]?#?\d{1,8}(?:\.\d+)?|[A-Za-z+-]|(?:P\d){1,2}|"
    r"p[A-Z]{2,3}\d{2,4}|TFORF\d+|ENST\d+(?:\.\d+)?|[ACGT]{15,}|(?i:sg|sh|si|cr|guides?|s?grna|shrna|sirna|all|vs|perturbation|single|double|dual)|"
    r"[+-]?\d+\.\d+(?:-(?:P\d){1,2})?|(?i:exon\d*|tss\d*|site\d*|lib(?:rary)?\d*|enh(?:ancer)?\d*|prom(?:oter)?\d*|top\d+|pos|pcdna\d*|pmj\d+)",
)
_FILLERS = word_set("a the of for against targeting in mediated by via gene cells function expression -")
_GENOTYPE = re.compile(r"[(]?[-−–]/[-−–][)]?")
_GLUED = re.compile(
    r"\b(knock(?:ed)?|over|loss|gain|crispr)[\s_]+(outs?|down|express\w*|interference|activation)\b", re.I
)
GUIDE_BEFORE = re.compile(r"^(?:sg|sh|si|cr|g)(?:RNA)?[-_]?(?=[A-Z0-9])|^(?:sgRNA|gRNA|guide)[-_]?", re.ASCII)
GUIDE_BEHIND = re.compile(r"(?:[-.]?(?:sg|g|gr|i|e|#)\d{1,3}|[-.]\d{1,3}|[-.](?:P\d){1,2})$", re.IGNORECASE)
_INTERFERING = re.compile(r"s[hi](?:RNA)?[-_]?(?=[A-Z])")  # an RNA that silences: shTP53, siEGFR
ENSEMBL = re.compile(r"ENSG\d{11}(?:\.\d+)?")
SHORT_RETIRED = 5
"""least length of a previous symbol in a guide's name"""


def read_guides(label: str) -> list[Perturbation] | None:
    """Genes of a guide's or construct's name; every other part must be noise, an action or a control arm."""
    genes: dict[str, None] = {}
    by_id: dict[str, None] = {}
    stated: str | None = None
    label = _GLUED.sub(r"\1-\2", _GENOTYPE.sub(" KO ", label))
    for token in re.split(r"[\s_|+;,/:&()~]+", label):
        if not token or CONTROL_ARM.fullmatch(token) or CONTROL_ARM.fullmatch(GUIDE_BEFORE.sub("", token)):
            continue
        if ENSEMBL.fullmatch(token):
            symbol = ensembl_symbols().get(token.partition(".")[0])
            if symbol is None:
                return None
            by_id[symbol] = None
            continue
        read = _gene_of(token)
        if read is None:
            return None
        symbols, effect = read
        genes.update(dict.fromkeys(symbols))
        stated = effect or stated
    chosen = by_id if len(by_id) == 1 and len(genes) == 1 else genes | by_id
    found = [genetic(symbol, "perturbation", None, label) for symbol in chosen]
    return [sign(one, stated) for one in found] or None


def _gene_of(token: str) -> tuple[list[str], str | None] | None:
    """(gene symbols, effect) of one part, either may be absent; None if the part is not understood."""
    symbol = _symbol(token)
    if symbol:
        return [symbol], None
    if NOISE.fullmatch(token) or token.lower() in _FILLERS:
        return [], effect_of(token)
    for shorter in (
        GUIDE_BEFORE.sub("", token),
        GUIDE_BEHIND.sub("", token),
        GUIDE_BEHIND.sub("", GUIDE_BEFORE.sub("", token)),
    ):
        if shorter != token and (symbol := _symbol(shorter)):
            return [symbol], "CRISPRi" if _INTERFERING.match(token) else None
    pieces = [piece for piece in re.split(r"[-.]", token) if piece]
    read = [_gene_of(piece) for piece in pieces] if len(pieces) > 1 else [None]
    known = [one for one in read if one is not None]
    effect = effect_of(token)
    if len(known) < len(read) or not any(symbols for symbols, _ in known):
        return ([], effect) if effect or len(known) == len(read) else None
    return [symbol for symbols, _ in known for symbol in symbols], next((e for _, e in known if e), None)


def _symbol(token: str) -> str | None:
    """The gene; reads `HLA.A` (R) as HLA-A. Everyday English words need capitals."""
    if token.upper() in NOT_GENES and not token.isupper():
        return None
    found = gene_symbol(token) or (gene_symbol(token.replace(".", "-")) if "." in token else None)
    return found or (retired_symbols().get(token.upper()) if len(token) > SHORT_RETIRED else None)


def effect_of(text: str) -> str | None:
    """How genes were changed, from the words of a column (`CRISPR-cas9`, `knockdown`, `OE`): a key of GENETIC_EFFECTS.

    >>> effect_of("CRISPRi"), effect_of("CRISPR-cas9"), effect_of("over-expression"), effect_of("drug")
    ('CRISPRi', 'knock-out', 'ORF', None)
    """
    return next((effect for effect, pattern in EFFECTS if pattern.search(text.strip())), None)


def sign(perturbation: Perturbation, effect: str | None) -> Perturbation:
    """Add the direction of `effect` to a perturbation of one gene without a direction."""
    if effect is None or perturbation.type != "genetic" or perturbation.direction is not None:
        return perturbation
    action, direction = GENETIC_EFFECTS[effect]
    return genetic(perturbation.targets[0], action, direction, perturbation.query)
