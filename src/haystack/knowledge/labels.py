"""Perturbation labels as atlases write them -> one `Perturbation`: brackets, guides, promoters, doses, combinations.

A label is read as a whole first. Where that fails, every part of it must be explained: as a name, or as something that
is known to say nothing about what was done (guide number, promoter, plasmid, control arm). What stays unexplained makes
the label unknown; nothing is guessed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import reduce

from haystack.contracts.query import GENETIC_EFFECTS, Direction, Perturbation, PerturbationType
from haystack.knowledge.genetic import NOT_GENES, ensembl_symbols, gene_symbol, genetic
from haystack.knowledge.names import BRACKETS, bare, unbracketed
from haystack.knowledge.resolve import resolve_perturbation
from haystack.knowledge.retired import retired_symbols

TOGETHER = " + "
"""between the names of a combination, sorted"""
EFFECTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("CRISPRa", re.compile(r"crispr[\s_-]?a(?![a-z])|crispr[\s_-]?act|activation|\bsam\b|vp64|vpr\b", re.I)),
    ("ORF", re.compile(r"\borf\b|over[\s_-]?express|\boe\b|\bcdna\b", re.I)),
    (
        "CRISPRi",
        re.compile(r"crispr[\s_-]?i(?![a-z])|interference|knock[\s_-]?down|\bkd\b|krab|\bs[hi]rna|\brnai\b", re.I),
    ),
    ("knock-out", re.compile(r"knock[\s_-]?out|\bko\b|crispr[\s_-]?(?:ko|n|cas9)?$|\bcas9\b|nuclease|deletion", re.I)),
)
CONTROL_ARM = re.compile(
    r"(?:neg(?:ative)?[\s_-]?)?(?:ctrl|control)s?[\s_-]?\d*|non?[\s_-]?target(?:ing)?[\s_-]?\d*|nt[cg]?[\s_-]?\d*|"
    r"safe[\s_-]?(?:targeting|harbor)?\d*|aavs1|intergenic\d*|scrambled?|e?gfp|luc(?:iferase)?|lacz|wt",
    re.IGNORECASE,
)
# Parts of a guide's name that say nothing about the gene.
NOISE = re.compile(
    r"(?i:sg|g|gr|sgr|sh|si|cr|guide|[gs]?grna|rep|oligo|pool|clone|#)?[\s_-]?#?\d{1,8}(?:\.\d+)?|[A-Za-z+-]|(?:P\d){1,2}|"
    r"p[A-Z]{2,3}\d{2,4}|TFORF\d+|ENST\d+(?:\.\d+)?|[ACGT]{15,}|(?i:sg|sh|si|cr|guides?|s?grna|shrna|sirna|all|vs|perturbation|single|double|dual)|"
    r"[+-]?\d+\.\d+(?:-(?:P\d){1,2})?|(?i:exon\d*|tss\d*|site\d*|lib(?:rary)?\d*|enh(?:ancer)?\d*|prom(?:oter)?\d*|top\d+|pos|pcdna\d*|pmj\d+)",
)
GUIDE_BEFORE = re.compile(r"^(?:sg|sh|si|cr|g)(?:RNA)?[-_]?(?=[A-Z0-9])|^(?:sgRNA|gRNA|guide)[-_]?", re.ASCII)
GUIDE_BEHIND = re.compile(r"(?:[-.]?(?:sg|g|gr|i|e|#)\d{1,3}|[-.]\d{1,3}|[-.](?:P\d){1,2})$", re.IGNORECASE)
_INTERFERING = re.compile(r"s[hi](?:RNA)?[-_]?(?=[A-Z])")  # an RNA that silences: shTP53, siEGFR
ENSEMBL = re.compile(r"ENSG\d{11}(?:\.\d+)?")
SHORT_RETIRED = 5
"""signs of an earlier symbol that is not trusted in a guide's name"""
GUIDE = re.compile(r"(?:sg|sgRNA|gRNA)[-_]?(?=[A-Z][A-Z0-9])")
_HANDED = re.compile(r"^\((?:[RS±]|[+]/-|rac|DL?|L)\)-", re.IGNORECASE)  # (R)-verapamil, (±)-...
LOOSE_NUMBER = re.compile(r"[_\s]+\d+(?:[.,]\d+)?$")
AMOUNT = re.compile(
    r"\d+(?:[.,]\d+)?\s*(?:[pnuµμm]?M|[pnuµμm]?g(?:/m[lL])?|[IU]?U(?:/m[lL])?|h|hrs?|hours?|d|days?|min|%)?"
)
CATIONS = {"sodium", "potassium", "lithium", "magnesium", "calcium", "zinc", "iron", "copper", "ammonium", "cobalt"}
"""of their salts the cation is no substance by itself"""


def resolve_label(text: str, hint: PerturbationType | None = None, effect: str | None = None) -> Perturbation | None:
    """The perturbation (or combination) that an atlas's label names, or None.

    Parameters
    ----------
    text
        the label.
    hint
        what the column holds. Bare gene symbols count for `genetic` only.
    effect
        how the atlas changed its genes, a key of GENETIC_EFFECTS: gives the direction that the label does not say.
    """
    label = " ".join(text.split())
    wanted = None if hint == "unknown" else hint
    if all(CONTROL_ARM.fullmatch(part) for part in re.split(r"[\s+_|;,/]+", label)) or CONTROL_ARM.fullmatch(label):
        return None
    for found in _readings(label, wanted):
        if found is not None:
            signed = [sign(part, effect) for part in found]
            together = reduce(_joined, sorted(signed, key=lambda part: part.name))
            return together.model_copy(update={"query": text}, deep=True)
    return None


def effect_of(text: str) -> str | None:
    """How genes were changed, from the words of a column (`CRISPR-cas9`, `knockdown`, `OE`): a key of GENETIC_EFFECTS.

    >>> effect_of("CRISPRi"), effect_of("CRISPR-cas9"), effect_of("over-expression"), effect_of("drug")
    ('CRISPRi', 'knock-out', 'ORF', None)
    """
    return next((effect for effect, pattern in EFFECTS if pattern.search(text.strip())), None)


def sign(perturbation: Perturbation, effect: str | None) -> Perturbation:
    """The perturbation with the direction of `effect`, where it is one of a gene that does not say its own."""
    if effect is None or perturbation.type != "genetic" or perturbation.direction is not None:
        return perturbation
    action, direction = GENETIC_EFFECTS[effect]
    return genetic(perturbation.targets[0], action, direction, perturbation.query)


def parts_of(name: str) -> list[str]:
    """Canonical names of the parts of a combination; of a single perturbation its own."""
    return name.split(TOGETHER)


def clean_name(text: str) -> str:
    """A drug's name as far as it can be told without knowing it: without brackets, dose and salt."""
    named = _literal_names(text)
    if len(named) == 1:
        return clean_name(named[0])
    outer = BRACKETS.sub(" ", text).strip() or text.strip()
    return bare(outer) or text.strip()


def _readings(label: str, wanted: PerturbationType | None) -> Iterator[list[Perturbation] | None]:
    """Ways to read a label, the surest first."""
    yield _literal(label, wanted)
    yield _single(label, wanted)
    if wanted == "genetic" or (wanted is None and GUIDE.match(label)):
        yield _guides(label)
    yield _bracketed(label, wanted)
    yield _several(label, wanted)
    if wanted != "genetic" and LOOSE_NUMBER.search(label):  # a dose without its unit: Belinostat_10
        yield _drugs(
            next(filter(None, (_single(_numberless(label), wanted), _bracketed(_numberless(label), wanted))), None)
        )


def _single(text: str, wanted: PerturbationType | None) -> list[Perturbation] | None:
    """One known name; the substance rather than its salt, where both are known."""
    text = _HANDED.sub("", text) or text
    free = bare(text)
    forms = (free, text) if free != text and free.lower() not in CATIONS else (text,)
    for form in forms:
        found = resolve_perturbation(form, wanted)
        if found is None and wanted != "genetic":
            found = resolve_perturbation(form)
        if found:
            return [found]
    return None


def _numberless(label: str) -> str:
    return LOOSE_NUMBER.sub("", label)


def _drugs(found: list[Perturbation] | None) -> list[Perturbation] | None:
    """A loose number belongs to names of cytokines and genes; only of drugs it is a dose."""
    return found if found and all(part.type == "drug" for part in found) else None


def _literal(label: str, wanted: PerturbationType | None) -> list[Perturbation] | None:
    """`[('Belinostat', 5.0, 'uM')]` and other Python literals: every text in it that is no unit must be a name."""
    return _all_of([_name(text, wanted) for text in _literal_names(label)])


def _literal_names(label: str) -> list[str]:
    """Texts of a Python literal that are neither units nor controls; empty for anything else."""
    if not label or label[0] not in "([{\"'":
        return []
    try:
        value = ast.literal_eval(label)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return [text for text in _strings(value) if not AMOUNT.fullmatch(f"1 {text}") and not CONTROL_ARM.fullmatch(text)]


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _strings(item)


def _name(text: str, wanted: PerturbationType | None) -> list[Perturbation] | None:
    return _single(text, wanted) or _bracketed(text, wanted) or (_guides(text) if wanted == "genetic" else None)


def _all_of(parts: list[list[Perturbation] | None]) -> list[Perturbation] | None:
    """All parts together when each is known, else None."""
    if not parts or any(part is None for part in parts):
        return None
    return list({one.name: one for part in parts for one in part or []}.values())


def _bracketed(label: str, wanted: PerturbationType | None) -> list[Perturbation] | None:
    """Names outside and inside brackets; more than one outside are a combination."""
    for name in unbracketed(label):
        if found := _single(name, wanted) or _several(name, wanted):
            return found
    return None


def _several(label: str, wanted: PerturbationType | None) -> list[Perturbation] | None:
    """`IL-4 + IL-13`, `LPS_IFNg`: parts that are all known, or control arms, which add nothing."""
    for separator in (r"\s*[+;|&]\s*", r"\s+and\s+|\s*,\s+|\s+plus\s+", r"\s*/\s*", r"_+"):
        parts = [part for part in re.split(separator, label) if part]
        if len(parts) < 2:
            continue
        named = [part for part in parts if not CONTROL_ARM.fullmatch(part)]
        if separator == r"_+":  # `IL4_10ng`, `LPS_24h`
            named = [part for part in named if not AMOUNT.fullmatch(part)]
        if found := _all_of([_name(part, wanted) for part in named]):
            return found
    return None


def _guides(label: str) -> list[Perturbation] | None:
    """Genes of a guide's or construct's name; every other part must be noise, an action or a control arm."""
    genes: dict[str, None] = {}
    by_id: dict[str, None] = {}
    said: str | None = None
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
        said = effect or said
    chosen = by_id if len(by_id) == 1 and len(genes) == 1 else genes | by_id
    found = [genetic(symbol, "perturbation", None, label) for symbol in chosen]
    return [sign(one, said) for one in found] or None


def _gene_of(token: str) -> tuple[list[str], str | None] | None:
    """(gene symbols, effect) of one part: either may be absent; None when the part is not understood."""
    symbol = _symbol(token)
    if symbol:
        return [symbol], None
    effect = effect_of(token)
    if NOISE.fullmatch(token) or effect:
        return [], effect
    for shorter in (
        GUIDE_BEFORE.sub("", token),
        GUIDE_BEHIND.sub("", token),
        GUIDE_BEHIND.sub("", GUIDE_BEFORE.sub("", token)),
    ):
        if shorter != token and (symbol := _symbol(shorter)):
            return [symbol], "CRISPRi" if _INTERFERING.match(token) else None
    pieces = [piece for piece in re.split(r"[-.]", token) if piece]
    if len(pieces) < 2:
        return None
    read = [_gene_of(piece) for piece in pieces]
    if any(one is None for one in read):
        return None
    known = [one for one in read if one is not None]
    return [symbol for symbols, _ in known for symbol in symbols], next((e for _, e in known if e), None)


def _symbol(token: str) -> str | None:
    """The gene; `HLA.A` as R writes HLA-A. Words of everyday English need capitals."""
    if token.upper() in NOT_GENES and not token.isupper():
        return None
    found = gene_symbol(token) or (gene_symbol(token.replace(".", "-")) if "." in token else None)
    return found or (retired_symbols().get(token.upper()) if len(token) > SHORT_RETIRED else None)


def _joined(one: Perturbation, other: Perturbation) -> Perturbation:
    """Two perturbations at once. What they are expected to do is the union; where they disagree nothing is expected."""
    same = one.direction if one.direction == other.direction else None
    return Perturbation(
        query=one.query,
        name=TOGETHER.join(sorted({*parts_of(one.name), *parts_of(other.name)})),
        type=one.type if one.type == other.type else "unknown",
        direction=same,
        receptors=list(dict.fromkeys([*one.receptors, *other.receptors])),
        targets=list(dict.fromkeys([*one.targets, *other.targets])),
        signalling=list(dict.fromkeys([*one.signalling, *other.signalling])),
        expected_targets=_agreed(one.expected_targets, other.expected_targets),
        expected_tfs=_agreed(one.expected_tfs, other.expected_tfs),
        expected_pathways=_agreed(one.expected_pathways, other.expected_pathways),
    )


def _agreed(one: dict[str, Direction], other: dict[str, Direction]) -> dict[str, Direction]:
    return {name: way for name, way in (other | one).items() if other.get(name, way) == way}
