"""Genes in a question, and what was done to them: the direction by the grammar of the words around them.

Trigger words (knocked out, lost, sgRNA, overexpressed, ...) and genes are found separately. Each group of coordinated
genes takes the strongest trigger of its clause that is separated from it by filler words only. A gene without a trigger
has no direction, and the query says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from haystack.contracts.query import Direction, Perturbation
from haystack.ontology.everyday import everyday_words
from haystack.ontology.normalise import word_set
from haystack.query.text import Span, span

KNOCK_OUT, KNOCK_DOWN, GAIN, UNSAID = "knock-out", "knock-down", "overexpression", "perturbation"
FARTHEST = 7  # words between a trigger and a gene
SHORT_PROTEIN = 4  # letters of a word in lower case that is no protein's name by itself
MORE_WORDS = 3  # of a protein's name behind the first
BESIDE = 2  # words between those that stand beside each other (knock-out of the, sgRNA against)
_TRIGGERS: tuple[tuple[str, int, str], ...] = (
    (
        KNOCK_DOWN,
        3,
        r"knock(?:s|ed|ing)?[\s-]?downs?|knockdowns?|kd|silenc(?:e[sd]?|ing)|crispr-?i|crispr[\s-]interference|"
        r"interference|si-?rnas?|sh-?rnas?|mi-?rnas?|rnai|antisense(?:\s+oligo\w*)?|asos?|morpholinos?|d?cas9[\s-]krab|"
        r"deplet(?:e[sd]?|ing|ion)|repress(?:ed|ion)|degrad(?:ed|er|ation)|reduc(?:ed|tion)|suppress(?:ed|ion)",
    ),
    (
        KNOCK_OUT,
        3,
        r"knock(?:s|ed|ing)?[\s-]?outs?|knockouts?|kos?|delet(?:e[sd]?|ing|ions?)|ablat(?:e[sd]?|ing|ion)|lacks?|lacking|"
        r"lacked|without|missing|absen(?:ce|t)|deficien(?:t|cy|cies)|haplo-?insufficien(?:t|cy)|null|disrupt(?:s|ed|ing|ion)?|"
        r"inactivat(?:e[sd]?|ing|ion)|remov(?:e[sd]?|ing|al)|eliminat(?:e[sd]?|ing|ion)|excis(?:ed|ion)|s?g-?rnas?|"
        r"guides?(?:[\s-]rnas?)?|loss[\s-]of[\s-]function|lof|truncat(?:ed|ing|ion)|frameshifts?|dominant[\s-]negative|"
        r"hypomorph(?:s|ic)?|defective|invalidat(?:ed|ion)|"
        r"ko'?d|w/o|minus|no|crispr(?:[\s/-]?cas9)?[\s-](?:ko|knock[\s-]?out|deletion)",
    ),
    (KNOCK_OUT, 2, r"los(?:t|s|es?|ing)|(?:base[\s-]|prime[\s-])?edit(?:ed|ing|s)?|crispr(?:[\s/-]?cas9)?|cas9|rnps?"),
    (
        GAIN,
        3,
        r"over-?\s?express(?:e[sd]|ing|ion)?|(?:made|forced|engineered|programmed|modified|induced)\s+to\s+express|oe|orfs?|crispr-?a|crispr[\s-]activation|ectopic(?:ally)?(?:\s+express\w*)?|"
        r"gain[\s-]of[\s-]function|gof|amplif(?:y|ied|ication)|(?:du|tri)plicat(?:ed|ion)|constitutively[\s-]active|"
        r"hyperactiv(?:e|ated|ation|ating)|(?:forced|exogenous|enforced|transgenic|induced|rescued?|re-?)[\s-]*express(?:e[sd]|ing|ion)|rescu(?:e[sd]?|ing)(?=\s+(?:of\s+)?(?-i:[A-Z]))|"
        r"activating(?:\s+mutations?)?|re-?stor(?:e[sd]?|ing|ation)|reconstitut(?:e[sd]?|ing|ion)|transgene|gains?(?=\s+of\s+[A-Z])|up-?regulat(?:e[sd]?|ing|ion)",
    ),
    (
        GAIN,
        2,
        r"transduc(?:e[sd]?|ing|tion)|transfect(?:s|ed|ing|ion)?|electroporat(?:e[sd]?|ing|ion)|nucleofect(?:ed|ion)|"
        r"introduc(?:e[sd]?|ing|tion)|deliver(?:y|ed|ing)|lentivir(?:us|al)|retrovir(?:us|al)|mrna",
    ),
    (UNSAID, 2, r"mutat(?:e[sd]?|ing|ions?)|mutants?|variants?|knock(?:ed)?[\s-]?ins?|perturb(?:s|ed|ing|ations?)?"),
)
_SOFT = re.compile(
    r"without|missing|no$|minus|w/o|absen|lack|deplet|repress|reduc|suppress|degrad|remov|restor|reconstit|eliminat|up-?regul|introduc|deliver|activat|depriv",
    re.I,
)
_NEXT_TO = {"no", "minus", "w/o"}  # triggers only right before a gene
_DIRECTION: dict[str, Direction | None] = {KNOCK_OUT: -1, KNOCK_DOWN: -1, GAIN: 1, UNSAID: None}
_PATTERNS = tuple(
    (action, weight, re.compile(rf"(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])", re.IGNORECASE))
    for action, weight, words in _TRIGGERS
)
_GENOTYPE = re.compile(r"[(]?[-−–+]/[-−–][)]?(?![\w])")  # STAT1-/-, CFTR (+/-)
_KNOCK_APART = re.compile(r"\bknock(?:s|ed|ing)?\s+(?:\w[\w-]*\s+(?:and\s+)?){1,3}?(?P<how>out|down)\b", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-zα-ω][A-Za-z0-9α-ω]*(?:[-./][A-Za-z0-9α-ω]+)*")
_PREFIXED = re.compile(r"^(?P<tool>si|sh|sg|g|Δ|∆)[-_]?(?P<gene>[A-Z][A-Z0-9]+)(?:[-_]\d)?$")
_LIKE_GENE = re.compile(r"[A-Z]{2,}[A-Z0-9]*\d[A-Z0-9]*")
_MICRO_RNA = re.compile(r"(?:hsa-)?(?:miR|let)-\d+[a-z]?(?:-[35]p)?(?![\w-])")
_CELLS_BEHIND = re.compile(
    r"^[+⁺]?\s+(?:(?!(?:in|of|on|from|with|and|or)\b)\w+\s+)?(?:cells?|(?:inter)?neurons?|\w+(?:cytes?|blasts?|phages?))\b",
    re.IGNORECASE,
)
_UNKNOWN = re.compile(r"[A-Z]{3,}|[A-Z][a-z]+\d+[a-z]?")  # may be a gene of no table: knockout of FROBN
_TOOLS = {"sg": KNOCK_OUT, "g": KNOCK_OUT, "si": KNOCK_DOWN, "sh": KNOCK_DOWN, "Δ": KNOCK_OUT, "∆": KNOCK_OUT}
# Words of experiments that are symbols, or look like symbols, and name no gene that something is done to.
NO_GENES = word_set("""
    CRISPR CRISPRI CRISPRA CAS9 DCAS9 CAS12A CPF1 KRAB VP64 VPR SAM GRNA SGRNA SIRNA SHRNA RNP AAV ORF KO KD OE WT NT
    NTC CTRL LOF GOF DOUBLE SINGLE TRIPLE DUAL GFP RFP EGFP MCHERRY LUC LACZ CELL CELLS AND THE DNA RNA MRNA PCR FACS
    MOI ATAC CITE SEQ GENE GENES CAR TCR BCR HLA MHC ER UPR EMT DMSO PBS FBS LPS ATP NAD ROS NO HR NK DC PBMC HSC ICU
    T B
""")
_MARKED = re.compile(
    r"^(?![(]?[+-]/[-−–])(?:[+⁺⁻]|-(?=[\s,;/)]|$)|\s?(?:hi|lo|high|low|bright|dim|positive|negative|pos|neg)\b|"
    r"-(?:positive|negative|high|low)|[\s-]?CARs?\b)"
)
# The gene is read out, or only part of another thing's name.
_READ_BEHIND = re.compile(
    r"^[\s-]*(?:expression|levels?|targets?|induction|mRNA|proteins?|reporter|promoter|activity|receptors?|ligands?|"
    r"antibod\w*|axis|response|signatures?|positive|negative|locus\s+accessibility|regulated|dependent|driven|pathway|"
    r"signal\w*|skewing|priming|polari[sz]\w+|producing|secreting|expressing|genes\b)",
    re.IGNORECASE,
)
_READ_BEFORE = re.compile(
    r"(?:\bexpress(?:es|ed|ing)?|\b(?:levels?|expression|induction|secretion|production|markers?|readouts?|transcripts?)"
    r"(?:\s+of)?|\bi\.?e\.?,?|\bsuch\s+as|\bmarkers?\s+like|\bproduc(?:e|es|ing|tion\s+of)|\bsecret(?:e|es|ing))\s*:?\s*$",
    re.IGNORECASE,
)
_INHIBITED = re.compile(
    r"^[\s-]+(?:inhibit(?:ors?|ion|ed)|inverse\s+agonis(?:ts?|m)|antagonis(?:ts?|m)|blockers?|blockade|blocking|"
    r"neutrali[sz]ation)\b",
    re.IGNORECASE,
)
_ANTIBODY = re.compile(r"^[\s-]+(?:(?:blocking|neutrali[sz]ing|monoclonal)\s+)?antibod(?:y|ies)\b", re.IGNORECASE)
_AGONISED = re.compile(
    r"^[\s-]+(?:agonis(?:ts?|m)|activators?|stimulators?|activation|ligation|engagement|triggering)\b", re.IGNORECASE
)
# A variant of the protein behind the gene: V600E, R175*, F508del, ITD.
_VARIANT = re.compile(
    r"^[\s-]*[(]?(?:p\.)?(?P<variant>[A-Z]\d{1,4}(?:[A-Z](?![a-z0-9])|\*|X|fs\S*|del)|[A-Z]?\d+del|ITD)\b"
)
_GLUED_VARIANT = re.compile(r"(?P<gene>[A-Z][A-Z0-9]{2,})(?P<variant>[A-Z]\d{2,4}[A-Z])")
# Well-known activating variants, by gene and position (Vogelstein et al. 2013 Science 339:1546; OncoKB's term "gain of
# function"); any other variant has no direction that its name tells.
_ACTIVATING = {
    "BRAF": "V600", "KRAS": "G12 G13 Q61 A146", "NRAS": "G12 G13 Q61", "HRAS": "G12 G13 Q61", "JAK2": "V617",
    "PIK3CA": "E542 E545 H1047", "KIT": "D816", "EGFR": "L858 T790", "FLT3": "D835 ITD", "GNAQ": "Q209",
    "GNA11": "Q209",
    "GNAS": "R201", "MYD88": "L265", "AKT1": "E17", "CTNNB1": "S33 S37 S45 T41", "ESR1": "Y537 D538", "ALK": "F1174",
    "MPL": "W515", "ABL1": "T315", "LRRK2": "G2019", "NOTCH1": "L1601", "MAP2K1": "K57 F53", "FGFR3": "R248 S249 G380",
    "STAT3": "Y640", "CARD11": "E626", "EZH2": "Y641", "PTPN11": "E76 D61", "SRC": "Y530", "RHOA": "Y42",
    "MET": "Y1253",
}  # fmt: skip
_FILLERS = word_set("""
    of the gene genes for against targeting targets target in with to both either at locus loci expression copy copies a
    an one two allele alleles function activity construct vector vectors double triple single combined dual simultaneous
    simultaneously stable stably human were was is are has
    have had been be being got gets together protein proteins becomes became mediated using via based
    directed individually also cells that which whose
    cell upon after following conditional homozygous heterozygous complete partial full inducible gene's genetic
    functional expressing virus plasmid cdna screen line lines each
""")
_CLAUSE = re.compile(
    r"[.;?!](?=\s|$)|,\s+(?=how|what|which|would|will|do|does|then)|\b(?:but|while|whereas|versus|vs\.?)\b", re.I
)
_OWN_PHRASE = re.compile(r"\b(?:after|upon|following|with|during)\b", re.IGNORECASE)
_JOIN = re.compile(
    r"^\s*(?:,|/|\+|&|,?\s*(?:and|or|plus|nor)|and/or|together\s+with)\s*(?:the\s+|of\s+)?$", re.IGNORECASE
)


@dataclass(frozen=True)
class GeneMention:
    """A gene in the question and how it was changed; `trigger` is None if no word says so."""

    span: Span
    perturbation: Perturbation
    trigger: Span | None
    read_out: bool = False
    """whether the gene is only an outcome (expression of X, X targets)"""
    known: bool = True
    """false: looks like a gene, but is in no symbol table"""


@dataclass(frozen=True)
class _Gene:
    span: Span
    symbol: str
    action: str | None = None
    variant: str | None = None
    known: bool = True
    needs_trigger: bool = False
    """counts as a gene only with a trigger word (survivin, miR-155)"""
    needs_neighbour: bool = False
    """the trigger must be adjacent, because the symbol has another meaning (HR, BCR)"""


@dataclass(frozen=True)
class _Trigger:
    span: Span
    action: str
    weight: int


def find_genes(text: str, taken: list[Span], cells: list[Span]) -> list[GeneMention]:
    """Genes that nothing else explains, in order, with their direction from the grammar.

    `taken` spans are already explained; `cells` may separate a trigger from its gene.
    """
    genes = list(_genes(text, taken))
    if not genes:
        return []
    triggers = _triggers(text, [*taken, *(gene.span for gene in genes)])  # a deficiency in a disease's name is none
    mentions = []
    for group in _groups(text, genes):
        trigger = _attached(text, group, triggers, cells)
        near = trigger is not None and _is_beside(text, group, trigger)
        if near and trigger is not None and soft(trigger.span):
            near = all(gene.known for gene in group)  # without PUVA
        for gene in group:
            if (trigger or gene.known) and (near or not gene.needs_neighbour):
                mention = _mention(text, gene, trigger, group[-1].span.end)
                mentions += [mention] if mention.trigger or not gene.needs_trigger else []
    return mentions


def claimed(text: str) -> list[Span]:
    """Symbols that an adjacent trigger marks as genes (ATM knockout, sgRNA against SST)."""
    if not says_genetic(text):
        return []
    genes = [gene for gene in _genes(text, []) if gene.known and gene.span.text == gene.symbol]
    triggers = _triggers(text, [gene.span for gene in genes])
    triggers = [
        trigger for trigger in triggers if not soft(trigger.span) or trigger.span.text.lower().startswith("lack")
    ]
    symbols = []
    for group in _groups(text, genes):
        trigger = _attached(text, group, triggers, [])
        behind = text[group[-1].span.end :]
        if (
            trigger is None
            or not _is_beside(text, group, trigger)
            or _CELLS_BEHIND.match(behind)
            or _MARKED.match(behind)
        ):
            continue
        symbols += [gene.span for gene in group]
    return symbols


def _is_beside(text: str, group: list[_Gene], trigger: _Trigger) -> bool:
    start, end = group[0].span.start, group[-1].span.end
    gap = text[trigger.span.end : start] if trigger.span.end <= start else text[end : trigger.span.start]
    return len(gap.split()) <= BESIDE


def says_genetic(text: str) -> bool:
    """Whether any word mentions a genetic change."""
    return any(pattern.search(text) for _, _, pattern in _PATTERNS) or bool(_GENOTYPE.search(text))


def soft(trigger: Span) -> bool:
    """Whether a trigger is used of substances as often as of genes (without IL-10, suppressed by IL-10)."""
    return _SOFT.match(trigger.text) is not None


def _genes(text: str, taken: list[Span]) -> Iterator[_Gene]:
    shouted = text.upper() == text
    at = 0
    while match := _TOKEN.search(text, at):
        at = match.end()
        if match.start() and (text[match.start() - 1].isalnum() or text[match.start() - 1] in "-_"):
            continue
        first = re.split(r"[-./]", match[0])[0]
        if any(span(text, match.start(), match.end()).overlaps(other) for other in taken):
            at = match.start() + len(first)
            if any(span(text, match.start(), at).overlaps(other) for other in taken):
                continue
        gene = _gene_at(text, match, shouted)
        at = gene.span.end if gene else match.start() + len(first)
        if gene and not any(gene.span.overlaps(other) for other in taken):
            yield gene


def _gene_at(text: str, match: re.Match[str], shouted: bool) -> _Gene | None:
    """The gene that begins here: a protein's name of several words, a guide, a symbol, or a word in gene style."""
    from haystack.knowledge import gene_symbol
    from haystack.knowledge.genetic import protein_gene

    start = match.start()
    for more in range(MORE_WORDS, 0, -1):  # gasdermin D, TNF receptor 1
        longer = re.compile(rf"(?:\s+[A-Za-z0-9/]+(?:-[A-Za-z0-9]+)*?){{{more}}}(?![A-Za-z0-9])").match(
            text, match.end()
        )
        where = span(text, start, longer.end()) if longer else None
        if where and (protein := _protein(where.text)):
            return _Gene(where, protein, needs_trigger=True)
    if micro := _MICRO_RNA.match(text, start):
        return _Gene(span(text, start, micro.end()), micro[0], known=False)
    parts = re.split(r"([-./])", match[0])
    if glued := _GLUED_VARIANT.fullmatch(parts[0]):  # KRASG12D
        symbol = gene_symbol(glued["gene"])
        where = span(text, start, start + len(parts[0]))
        if symbol and gene_symbol(parts[0]) is None:
            return _Gene(where, symbol, None, glued["variant"])
    for size in range(len(parts), 0, -2):
        word = "".join(parts[:size])
        if "".join(parts[size : size + 1]) == "-" and parts[size + 1].isdigit():
            continue  # Ang-2 is not ANG
        where = span(text, start, start + len(word))
        tool = _PREFIXED.match(word)
        symbol = gene_symbol(tool["gene"]) if tool else None
        if tool and symbol:
            return _Gene(span(text, start + tool.start("gene"), where.end), symbol, _TOOLS[tool["tool"]])
        if word.upper() in NO_GENES and gene_symbol(word) == word:
            return _Gene(where, word, needs_neighbour=True)
        symbol = _protein(word) or (protein_gene(word) if _written_as_gene(word, shouted) else None)
        if symbol:
            variant = _VARIANT.match(text[where.end :])
            if variant:
                where = span(text, start, where.end + variant.end())
            return _Gene(
                where,
                symbol,
                None,
                variant["variant"] if variant else None,
                needs_trigger=word.isalpha() and word.islower(),
            )
    if _LIKE_GENE.fullmatch(parts[0]) and parts[0] not in NO_GENES and not shouted:
        return _Gene(span(text, start, start + len(parts[0])), parts[0], known=False)
    if _UNKNOWN.fullmatch(parts[0]) and parts[0].upper() not in NO_GENES and not shouted:
        return _Gene(span(text, start, start + len(parts[0])), parts[0], known=False, needs_neighbour=True)
    return None


def _protein(words: str) -> str | None:
    """Gene of a protein's name that is not a symbol (gasdermin D, survivin)."""
    from haystack.knowledge.genetic import protein_names, spoken

    return protein_names().get(spoken(words)) if len(words) > SHORT_PROTEIN else None


def _written_as_gene(word: str, shouted: bool) -> bool:
    """Capitals (STAT1, TOX), mouse style with a digit (Stat1), or p53; everyday words only with a digit."""
    if word.upper() in NO_GENES or len(word) < 2 or (word.islower() and not re.search(r"\d", word)):
        return False
    if re.search(r"\d", word):
        return word[0].isupper() or word.islower()
    if not shouted and (word.upper() == word or sum(letter.isupper() for letter in word) > 2):  # mTOR
        return True
    return len(word) > 2 and word[0].isupper() and word.lower() not in everyday_words()


def _triggers(text: str, taken: list[Span]) -> list[_Trigger]:
    triggers: list[_Trigger] = []
    for action, weight, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            where = span(text, match.start(), match.end())
            if not any(where.overlaps(other) for other in taken):
                triggers.append(_Trigger(where, action, weight))
    triggers += [_Trigger(span(text, match.start(), match.end()), KNOCK_OUT, 3) for match in _GENOTYPE.finditer(text)]
    for match in _KNOCK_APART.finditer(text):
        action = KNOCK_OUT if match["how"].lower() == "out" else KNOCK_DOWN
        triggers.append(_Trigger(span(text, match.start("how"), match.end("how")), action, 3))
    longest = sorted(triggers, key=lambda trigger: (trigger.span.start - trigger.span.end, -trigger.weight))
    kept: list[_Trigger] = []
    for trigger in longest:
        if not any(trigger.span.overlaps(other.span) for other in kept):
            kept.append(trigger)
    return kept


def _groups(text: str, genes: list[_Gene]) -> Iterator[list[_Gene]]:
    """Group genes of one list (STAT1 and STAT2; A, B or C)."""
    group: list[_Gene] = []
    for gene in genes:
        if group and not _JOIN.match(text[group[-1].span.end : gene.span.start]):
            yield group
            group = []
        group.append(gene)
    if group:
        yield group


def _attached(text: str, group: list[_Gene], triggers: list[_Trigger], cells: list[Span]) -> _Trigger | None:
    start, end = group[0].span.start, group[-1].span.end
    best: tuple[float, _Trigger] | None = None
    for trigger in triggers:
        before = trigger.span.end <= start
        if not before and trigger.span.start < end:
            continue
        left, right = (trigger.span.end, start) if before else (end, trigger.span.start)
        gap = text[left:right]
        if _CLAUSE.search(gap) or (not before and _has_own_cells(text, left, trigger, cells)):
            continue
        words = [word for word in re.findall(r"[\w'+-]+", _without(gap, left, cells)) if word.strip("-+'")]
        other = [word for word in words if word.lower() not in _FILLERS and not is_trigger(word)]
        if before and "by" in (word.lower() for word in words):
            continue
        if trigger.span.text.lower() in _NEXT_TO and (words or not before):
            continue
        if len(words) > FARTHEST or len(other) > (1 if before else 0):
            continue
        value = 10 * trigger.weight - 2 * len(words) - 5 * len(other) - (0.5 if before else 0)
        if best is None or value > best[0]:
            best = (value, trigger)
    return best[1] if best else None


def _has_own_cells(text: str, start: int, trigger: _Trigger, cells: list[Span]) -> bool:
    """Whether a trigger behind the gene acts on cells, in a phrase of its own: IL-15 after Treg depletion."""
    own = [cell for cell in cells if cell.start >= start and not text[cell.end : trigger.span.start].strip(" -")]
    return any(_OWN_PHRASE.search(text[start : cell.start]) for cell in own if cell.end <= trigger.span.start)


def _without(gap: str, offset: int, cells: list[Span]) -> str:
    """The text between with names of cells blanked."""
    for cell in cells:
        left, right = cell.start - offset, cell.end - offset
        if left >= 0 and right <= len(gap):
            gap = gap[:left] + " " * (right - left) + gap[right:]
    return gap


def opposite_changes(text: str, mentions: list[GeneMention], taken: list[Span]) -> list[Span]:
    """Words of the opposite change that belong to no gene: RUNX1 silencing vs overexpression."""
    read = {mention.perturbation.direction for mention in mentions if mention.trigger}
    if read not in ({1}, {-1}):
        return []
    triggers = [trigger for trigger in _triggers(text, taken) if trigger.weight > 2 and not soft(trigger.span)]
    return [trigger.span for trigger in triggers if _DIRECTION[trigger.action] not in {None, *read}]


def is_trigger(word: str) -> bool:
    """Whether a word mentions a change of a gene."""
    return any(pattern.fullmatch(word) for _, _, pattern in _PATTERNS)


def _mention(text: str, gene: _Gene, trigger: _Trigger | None, end: int) -> GeneMention:
    """A gene and what is done to it; `end` is that of its list (JAK1/JAK2 inhibition)."""
    from haystack.knowledge.genetic import genetic
    from haystack.knowledge.mentions import ANTI, INHIBIT, INHIBITED, NOT_BEFORE
    from haystack.knowledge.resolve import acting_on, resolve_perturbation

    behind = text[gene.span.end : gene.span.end + 40]
    before = text[max(0, gene.span.start - 40) : gene.span.start]
    if gene.variant:
        return GeneMention(gene.span, _variant(gene, trigger), gene.span)
    if gene.action:
        return GeneMention(
            gene.span, genetic(gene.symbol, gene.action, _DIRECTION[gene.action], gene.span.text), gene.span
        )
    acted = text[end : end + 40]
    if INHIBITED.match(acted) or INHIBIT.search(before):
        names = (f"{gene.span.text} {word}" for word in ("blockade", "antagonist", "inhibitor"))
        found = next(filter(None, (resolve_perturbation(name, "drug") for name in names)), None)
        return GeneMention(gene.span, found or acting_on(gene.symbol, "inhibitor", gene.span.text, -1), gene.span)
    if ANTI.search(before) or _ANTIBODY.match(acted):  # the class of such antibodies, if the tables have one
        found = resolve_perturbation(f"anti-{gene.span.text}", "drug")
        return GeneMention(gene.span, found or acting_on(gene.symbol, "blockade", gene.span.text, -1), gene.span)
    for pattern, word, sign in ((_INHIBITED, "inhibitor", -1), (_AGONISED, "agonist", 1)):
        if (match := pattern.match(acted)) and NOT_BEFORE.match(acted[match.end() :]):
            return GeneMention(gene.span, genetic(gene.symbol, UNSAID, None, gene.span.text), None, read_out=True)
        if match:  # not EGFR inhibitor-resistant cells
            where = span(text, gene.span.start, end + match.end()) if gene.span.end == end else gene.span
            if match[0].endswith("activation") and resolve_perturbation(f"{gene.symbol} agonist", "drug") is None:
                return GeneMention(gene.span, genetic(gene.symbol, GAIN, 1, gene.span.text), where)  # KLF1 activation
            return GeneMention(where, acting_on(gene.symbol, word, where.text, 1 if sign > 0 else -1), where)
    marked = bool(_MARKED.match(behind)) or bool(_READ_BEHIND.match(behind)) or bool(_READ_BEFORE.search(before))
    if marked and (trigger is None or _MARKED.match(behind)):
        return GeneMention(gene.span, genetic(gene.symbol, UNSAID, None, gene.span.text), None, read_out=True)
    action = trigger.action if trigger else UNSAID
    if not gene.known:
        made_up = Perturbation(
            query=gene.span.text, name=f"{gene.symbol} {action}", type="genetic", direction=_DIRECTION[action]
        )
        return GeneMention(gene.span, made_up, trigger.span if trigger else None, known=False)
    perturbation = genetic(gene.symbol, action, _DIRECTION[action], gene.span.text)
    return GeneMention(gene.span, perturbation, trigger.span if trigger else None)


def _variant(gene: _Gene, trigger: _Trigger | None) -> Perturbation:
    """A named variant: gain for the well-known activating ones, loss for truncations, else unknown."""
    from haystack.knowledge.genetic import genetic

    variant = str(gene.variant)
    direction: Direction | None = None
    if any(variant.startswith(place) for place in _ACTIVATING.get(gene.symbol, "").split()):
        direction = 1
    elif re.search(r"\*|X$|fs|del$", variant) or (trigger is not None and trigger.action in {KNOCK_OUT, KNOCK_DOWN}):
        direction = -1
    return genetic(gene.symbol, variant, direction, gene.span.text)
