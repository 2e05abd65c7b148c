"""Find perturbations mentioned in a text: the longest names at word boundaries, excluding names of cell types."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from haystack.contracts.query import Perturbation
from haystack.knowledge.catalogue import catalogue, index, known
from haystack.knowledge.chebi import chebi_drug, chebi_names
from haystack.knowledge.ligands import ligands, named_protein
from haystack.knowledge.names import agent, bare, key
from haystack.knowledge.resolve import blockade, resolve_perturbation
from haystack.ontology.normalise import word_set

TOKEN = re.compile(r"(?:[A-Za-z0-9α-ωΑ-Ωß]|'(?!s\b))+")
MAX_TOKENS = 9
CONTEXT = 60
"""characters of context used before and after a name"""
SHORT_PROTEIN = 4
"""length up to which a protein's name is used only if nothing else matches"""
PLURAL = re.compile(r"(?<=[A-Za-z0-9])s$")
DOSE_AHEAD = re.compile(r"\s*[(,]?\s*\d+(?:[.,]\d+)?\s*(?:[pnuµμm]M|[pnuµμm]?g/m[lL]|mg/kg)\b")
GREEK_WORD = re.compile(r"(?:^|\s)(?:alpha|alfa|beta|gamma|delta|kappa|lambda|omega)\b", re.IGNORECASE)
SPELLED_OUT = tuple(
    (re.compile(r"[\s-]?".join(words), re.IGNORECASE), short)
    for words, short in (
        (("transforming", "growth", "factor"), "TGF"),
        (("tumou?r", "necrosis", "factor"), "TNF"),
        (("fibroblast", "growth", "factor"), "FGF"),
        (("platelet", "derived", "growth", "factor"), "PDGF"),
        (("bone", "morphogenetic", "protein"), "BMP"),
        (("colony", "stimulating", "factor"), "CSF"),
        (("interleukin",), "IL"),
        (("interferon",), "IFN"),
    )
)
# Names that are also common words: only as written here do they mean the molecule.
CASED = {
    "april": "APRIL",
    "light": "LIGHT",
    "trail": "TRAIL",
    "tweak": "TWEAK",
}
# The molecule is part of the name of something else.
NOT_BEFORE = re.compile(
    r"^(?:[\s_-]*(?:receptors?\b|converting\s+enzyme|producing\b|secret(?:ing|ory)\b|neurons?\b|type\s+cells?\b|expressing\b|producers?\b|positive\b|negative\b|deficient\b|"
    r"resistan(?:t|ce)\b|(?:in)?sensitiv(?:e|ity)\b|refractory\b|unresponsive\b|toler(?:ant|ance|i[sz]ed)\b|(?:non-?\s?)?responders?\b|allerg(?:y|ies|ic)\b|intoleran(?:ce|t)\b|(?:in)?dependen(?:t|ce)\b|(?:super)?family\b|deficiency\b|(?:in)?toxi(?:city|cation)\b|related\b|induced\s+gene|regulated\s+gene|stimulated\s+genes?\b|reporter\b)|\s?R\b|-[A-Z0-9]{1,2}(?![\w-])|[+⁺]|-?/-|hi\b|lo\b)",
    re.IGNORECASE,
)
NOT_BEHIND = re.compile(
    r"\b(?:secreting|producing|expressing|releasing|positive\s+for|malignant|make|produce|secrete)[\s-]+$", re.I
)
_GENUS = re.compile(r"^[A-Z]\.\s+(?=[a-z])")
_PLUS = re.compile(r"[+⁺](\w[\w-]*+)(?![+⁺])")
"""EGF+bFGF: a substance follows, so the sign does not belong to a marker"""
ANTI = re.compile(
    r"(?:\banti[\s-]?|\bblocking\s+(?:of\s+)?|"
    r"\b(?:blockade|neutrali[sz]ation|inhibition|antagonism|suppression|abrogation|sequestration|quenching)\s+of\s+|"
    r"\bneutrali[sz]ing\s+(?:anti-?)?|"
    r"\b(?:(?:blocking|neutrali[sz]ing)\s+)?antibod(?:y|ies)\s+(?:(?:directed|raised)\s+)?(?:against|to|for|targeting)\s+|"
    r"\b(?:inhibitors?|antagonists?|blockers?|scavengers?)\s+of\s+)$",
    re.IGNORECASE,
)
BLOCKED = re.compile(
    r"^[\s-]+(?:blockade|neutrali[sz]ation|inhibition|inhibitors?|antagonists?|blockers?|traps?|decoys?|scavengers?|"
    r"(?:(?:blocking|neutrali[sz]ing|monoclonal)\s+)?antibod(?:y|ies)|blocking)\b",
    re.IGNORECASE,
)
_ANTIBODY = re.compile(r"^[\s-]+antibod", re.IGNORECASE)
# An imperative or a gerund that blocks: block TNF, by neutralising IL-6; not `IL-10 blocks TNF`, which is read out.
_BLOCK = re.compile(
    r"(?:^|[.:;,?!]\s*|\b(?:by|when|while|we|i|you|let's|to|please|and|after|upon|of|with)\s+)"
    r"(?:(?:i|we|you)\s+)?(?:block(?:ed|ing)?|neutrali[sz](?:ed?|ing)|inhibit(?:ed|ing)?|antagoni[sz](?:ed?|ing)|"
    r"sequester(?:ed|ing)?|depriv(?:ed?|ing)\s+of|trap(?:ped|ping)?)\s+(?:the\s+)?$",
    re.IGNORECASE,
)
_BLOCKING = re.compile(r"inhibit|block|antagoni", re.IGNORECASE)
INHIBIT = re.compile(
    r"\b(?:inhibit(?:s|ing|ion\s+of|ors?\s+of)?|block(?:s|ing|ade\s+of)?|antagoni[sz](?:es?|ing|ts?\s+of))\s+(?:the\s+)?$",
    re.IGNORECASE,
)
INHIBITED = re.compile(
    r"^(?:\s+signall?ing)?\s+(?:(?:is|are|was|were|gets?|has\s+been|being|be)\s+|(?=\w+ed\s*(?:$|[,;.?!)])))(?:\w+ly\s+)?(?:inhibited|blocked|antagoni[sz]ed|neutrali[sz]ed|abolished|abrogated|"
    r"(?:shut|switched|turned)\s+(?:off|down))\b",
    re.IGNORECASE,
)
# Words after which a name is a treatment, so that any substance of ChEBI may be meant.
TRIGGER = re.compile(
    r"(?:treat(?:ed|ing|ment|s)?|expos(?:ed|ure|ing)|respon(?:d|ds|se|ses|ded|ding)|stimulat(?:ed|ion|ing)|effects?|"
    r"cultured?|incubat(?:ed|ion)|perturb(?:ed|ation)|drugs?|compounds?|inhibitors?|under|after|upon|dos(?:ed|e)|"
    r"administration|given|impact|influence|challenge[d]?)\s+(?:\w+\s+){0,2}?(?:with|to|of|by|in|the|on|after|drug|compound)?\s*$",
    re.IGNORECASE,
)
_ADDED = re.compile(r"\w\s+(?:\+|with|plus|given|and)\s+$")
DRUG_ENDINGS = tuple(
    word_set("""
        tinib nib limus mab stat inostat ciclib parib rafenib zomib sertib lisib degib clax tide olone asone sone
        onide prazole sartan statin olol pril azepam mycin floxacin cillin cycline vir azole oxetine triptan gliptin
        gliflozin glitazone fibrate dipine setron taxel rubicin platin trexate bicin tecan poside blastine cristine
        citabine profen coxib rolimus caine thiazide lukast tadine zosin idone apine dronate imod stim cept kinra
    """)
)
DRUG_SUFFIX = re.compile(rf"(?:{'|'.join(sorted(DRUG_ENDINGS))})s?$", re.IGNORECASE)
STOP = {
    *("acid", "water", "salt", "protein", "proteins", "peptide", "drug", "drugs", "vehicle", "medium", "control"),
    *("cells", "cell", "blood", "plasma", "oxygen", "glucose", "light", "cytokine", "cytokines", "interferon"),
    *("interferons", "hormone", "steroid", "steroids", "antibiotic", "antigen", "gene", "lead", "tin", "iron", "air"),
    *("alcohol", "carbon", "nitrogen", "hydrogen", "ethanol", "globin", "base", "ion", "donor", "sample"),
}


def find_substances(text: str, taken: list[tuple[int, int]]) -> list[tuple[int, int, Perturbation]]:
    """Cytokines, drugs and other stimuli (not genes) outside the `taken` spans."""
    tokens = [match.span() for match in TOKEN.finditer(text)]
    blocking = _BLOCKING.search(text) is not None
    substances = []
    at = 0
    while at < len(tokens):
        hit = None
        for last in range(min(at + MAX_TOKENS, len(tokens)) - 1, at - 1, -1):
            start, end = tokens[at][0], tokens[last][1]
            end = _closing(text, start, end)
            if any(start < other_end and end > other_start for other_start, other_end in taken):
                continue
            perturbation = _at(text, start, end, blocking)
            if perturbation:
                hit = (*_widened(text, start, end, perturbation), last)
                break
        if hit is None:
            at += 1
            continue
        start, end, perturbation, last = hit
        substances.append((start, end, perturbation))
        at = last + 1
    return substances


def _closing(text: str, start: int, end: int) -> int:
    """Extend the end by a bracket that the span opens."""
    return end + 1 if text[start:end].count("(") > text[start:end].count(")") and text[end : end + 1] == ")" else end


def _at(text: str, start: int, end: int, blocking: bool) -> Perturbation | None:
    """The perturbation named in this span; `blocking`: the text mentions inhibition or blocking somewhere."""
    words = text[start:end]
    if re.search(r"[,;.?!:]\s", _GENUS.sub("", words)) or "\n" in words:
        return None
    if re.search(r"\s(?:and|or|vs|versus|plus)\s", words) and key(words) not in _joined_names():
        return None
    if blocking and (acted := _acted_on(text, start, end, key(words))):
        return acted
    if not _may_begin(words):
        return None
    words = agent(words)
    compact = key(words)
    name = index().get(compact) or index().get(key(bare(words))) or index().get(key(PLURAL.sub("", words)))
    if name is not None and index().get(compact) is None:
        words = PLURAL.sub("", bare(words) if key(bare(words)) in index() else words)
        compact = key(words)
    protein = named_protein(words) if name is None and len(compact) > SHORT_PROTEIN else None
    if protein is None and name is None and chebi_drug(words) is None and chebi_drug(bare(words)) is None:
        return None
    joined = (plus := _PLUS.match(_after(text, end))) and key(plus[1]) in index()
    if len(compact) < 2 or (goes_on(text, start, end) and not joined) or NOT_BEHIND.search(_before(text, start)):
        return None
    if name:
        written = (name, *known(name).synonyms)
        return known(name) if _as_written(words, compact, name) and blanks_fit(bare(words), written) else None
    if protein and re.match(r"[\s_-]+\w*cytes?\b", _after(text, end)):
        return None  # nodal myocytes
    if protein:
        return protein if blanks_fit(words, tuple(protein.synonyms)) else None
    found = chebi_drug(words) or chebi_drug(bare(words))
    if found and not blanks_fit(bare(words), (found[1],)):
        return None
    return _substance(text, start, end)


def _acted_on(text: str, start: int, end: int, compact: str) -> Perturbation | None:
    """The class of inhibitors of an inhibited target: JAK is inhibited, inhibition of HDAC."""
    if compact in index() or not (INHIBIT.search(_before(text, start)) or INHIBITED.match(_after(text, end))):
        return None
    name = index().get(f"{compact}inhibitor")
    return known(name) if name else None


_SLOW = re.compile(
    r"inter|transform|tumou?r|fibro|plate|bone|colony|lympho|alpha|beta|gamma|lambda|omega|recomb|human|murine|mouse|"
    r"rh|r-?h|soluble|native|purified|exogenous|h(?=il|tnf|ifn|tgf)|anti|α"
)


@cache
def _joined_names() -> frozenset[str]:
    """Keys of names that contain a conjunction (PMA and ionomycin)."""
    names = (name for item in catalogue().values() for name in (item.name, *item.synonyms))
    return frozenset(key(name) for name in names if re.search(r"\s(?:and|or|plus)\s", name))


@cache
def _beginnings() -> tuple[frozenset[str], frozenset[str]]:
    """Keys of up to four characters, and the first five characters of the longer ones."""
    keys = (*index(), *chebi_names(), *(key(name) for names in ligands().values() for name in names))
    return frozenset(k for k in keys if len(k) < 5), frozenset(k[:5] for k in keys if len(k) > 4)


def _may_begin(words: str) -> bool:
    """Whether some name begins like these words: a cheap test, so that few spans are looked up."""
    lowered = words.lower()
    if not words.isascii() or _SLOW.match(lowered):
        return True
    raw = "".join(c for c in lowered if c.isalnum())
    short, long = _beginnings()
    return raw[:5] in long or raw[:4] in short or raw[:3] in short or raw[:2] in short


def blanks_fit(words: str, written: tuple[str, ...]) -> bool:
    """Whether each blank in `words` is a separator in one of the written names too.

    Keys leave blanks out, so that `differ in` would match Differin and `stat in` a statin. Numbers, single letters and
    Greek letters may be separate (IL 2, TNF alpha).

    >>> blanks_fit("differ in", ("adapalene", "Differin")), blanks_fit("interleukin 2", ("IL-2",))
    (False, True)
    """
    for long, short in SPELLED_OUT:
        words = long.sub(short, words)
    for gap in re.finditer(r"\s+", words):
        left, right = words[: gap.start()], words[gap.end() :]
        if re.match(r"(?:\d\S{0,3}|[A-Za-z]\d?|[α-ω]\d?)(?!\w)", right) or GREEK_WORD.search(
            f"{left[-8:]} {right[:8]}"
        ):
            continue
        sides = (key(left), key(PLURAL.sub("", right)))
        if not any(sides in _splits(name) for name in written):
            return False
    return True


@lru_cache(maxsize=20_000)
def _splits(name: str) -> frozenset[tuple[str, str]]:
    """Left and right part of a name at each of its separators."""
    for long, short in SPELLED_OUT:
        name = long.sub(short, name)
    gaps = re.finditer(r"[^A-Za-z0-9α-ωß]+", name)
    return frozenset((key(name[: gap.start()]), key(PLURAL.sub("", name[gap.end() :]))) for gap in gaps)


def goes_on(text: str, start: int, end: int) -> bool:
    """Whether a molecule's name is part of another name: IL-2 receptor, TPO antibodies that nobody gives."""
    if _ANTIBODY.match(_after(text, end)):
        blocks = ANTI.search(_before(text, start)) or text[start:end].lower().startswith("anti")
        return not (blocks or TRIGGER.search(_before(text, start)))
    return NOT_BEFORE.match(_after(text, end)) is not None


def _before(text: str, start: int) -> str:
    """Text before a position, limited to CONTEXT characters to bound the cost for long texts."""
    return text[max(0, start - CONTEXT) : start]


def _after(text: str, end: int) -> str:
    return text[end : end + CONTEXT]


def _as_written(words: str, compact: str, name: str) -> bool:
    """Everyday words and names of up to three letters match only in their written case."""
    if compact in CASED:
        return words == CASED[compact]
    if len(compact) <= 3 and compact.isalpha():
        return any(words == written for written in (name, *known(name).synonyms))
    return True


def _substance(text: str, start: int, end: int) -> Perturbation | None:
    words = text[start:end]
    if " " in words and words != words.strip():
        return None
    if words.lower() in STOP or len(words) < 5:
        return None
    first = words.split()[0]
    before = _before(text, start)
    triggered = TRIGGER.search(before) or _ADDED.search(before) or DOSE_AHEAD.match(_after(text, end))
    if not (triggered or DRUG_SUFFIX.search(first) or re.search(r"\d", words)):
        return None
    return resolve_perturbation(words)


def _widened(text: str, start: int, end: int, perturbation: Perturbation) -> tuple[int, int, Perturbation]:
    """Extend the span by a preceding `anti-` or following `blockade`, which reverse a cytokine."""
    before, behind = ANTI.search(_before(text, start)), BLOCKED.match(_after(text, end))
    verb = _BLOCK.search(_before(text, start)) or INHIBITED.match(_after(text, end))
    if perturbation.type == "unknown" and (before or behind):  # IgE blockade
        against = resolve_perturbation(f"anti-{perturbation.name}")
        return start, end + (behind.end() if behind else 0), against or perturbation
    if perturbation.type == "cytokine" and (before or behind or verb):
        if before:
            start -= len(before[0])
        if behind:
            end += behind.end()
        perturbation = blockade(perturbation)
    return start, end, perturbation.model_copy(update={"query": text[start:end]}, deep=True)
