"""Resolve perturbation labels of atlases to a `Perturbation`: brackets, guides, promoters, doses, combinations.

A label is first read as a whole. Otherwise every part of it must be a name or known to be uninformative (guide number,
promoter, plasmid, control arm); if a part is unexplained, the label is unknown. Nothing is guessed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import reduce

from haystack.contracts.query import Direction, Perturbation, PerturbationType
from haystack.knowledge.guides import CONTROL_ARM, read_guides, sign
from haystack.knowledge.ligands import named_protein
from haystack.knowledge.names import BRACKETS, bare, unbracketed
from haystack.knowledge.resolve import lookup, resolve_perturbation

TOGETHER = " + "
"""separator of the sorted names of a combination"""
GUIDE = re.compile(r"(?:sg|sgRNA|gRNA)[-_]?(?=[A-Z][A-Z0-9])")
_HANDED = re.compile(r"^\((?:[RS±]|[+]/-|rac|DL?|L)\)-", re.IGNORECASE)  # (R)-verapamil, (±)-...
SHORT = 3
"""letters up to which a name that the tables lack is no name in a label"""
LOOSE_NUMBER = re.compile(r"[_\s]+\d+(?:[.,]\d+)?$")
AMOUNT = re.compile(
    r"\d+(?:[.,]\d+)?\s*(?:[pnuµμm]?M|[pnuµμm]?g(?:/m[lL])?|[IU]?U(?:/m[lL])?|h|hrs?|hours?|d|days?|min|%)?"
)
_WITHOUT = re.compile(
    r"(?:no|w/o|without|minus)(?![A-Za-z])|[-−–](?=[A-Za-z])|.*(?:(?<![/−–-])[-−–]|\([-−–]\)|[\s_-]neg(?:ative)?)$",
    re.IGNORECASE,
)
"""the label says that something is absent: -IL2, IL2(-), w/o LPS; not the genotype STAT1-/-"""
_UNIT = r"(?:[pnuµμm]?M|[pnuµμm]?g(?:/m[lL])?|[kmIM]?[IU]?U(?:/m[lL])?|h|hrs?|hours?|hpi|d|days?|dpi|min|%)"
_MORE_THAN_0 = r"(?![0.,]+(?![\d.,]))\d+(?:[.,]\d+)?"
_AMOUNT_AT_END = re.compile(
    rf"[\s._-]+(?:{_MORE_THAN_0}\s?{_UNIT}|MOI[\s_=]*{_MORE_THAN_0})$|^{_MORE_THAN_0}\s?{_UNIT}[\s._-]+"
)
_GIVEN_BESIDE = re.compile(r"\s*\+\s*|_+")


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
    while (shorter := _AMOUNT_AT_END.sub("", label)) not in {label, ""}:
        label = shorter
    if (
        _WITHOUT.match(label)
        or all(CONTROL_ARM.fullmatch(part) for part in re.split(r"[\s+_|;,/]+", label))
        or CONTROL_ARM.fullmatch(label)
    ):
        return None
    for found in _readings(label, wanted):
        if found is not None:
            signed = [sign(part, effect) for part in found]
            together = reduce(_joined, sorted(signed, key=lambda part: part.name))
            return together.model_copy(update={"query": text}, deep=True)
    return None


def parts_of(name: str) -> list[str]:
    """Canonical names of the parts of a combination, or of a single perturbation."""
    return name.split(TOGETHER)


def clean_name(text: str) -> str:
    """A drug's name without brackets, dose and salt, as far as possible without knowing the drug."""
    named = _literal_names(text)
    if len(named) == 1:
        return clean_name(named[0])
    outer = BRACKETS.sub(" ", text).strip() or text.strip()
    return bare(outer) or text.strip()


def _readings(label: str, wanted: PerturbationType | None) -> Iterator[list[Perturbation] | None]:
    """Possible readings of a label, the most certain first."""
    yield _literal(label, wanted)
    yield _single(label, wanted)
    if wanted == "genetic":
        yield _changed_and_given(label)
    if wanted == "genetic" or (wanted is None and GUIDE.match(label)):
        yield read_guides(label)
    yield _bracketed(label, wanted)
    yield _several(label, wanted)
    if wanted != "genetic" and LOOSE_NUMBER.search(label):  # a dose without its unit: Belinostat_10
        yield _drugs(
            next(filter(None, (_single(_numberless(label), wanted), _bracketed(_numberless(label), wanted))), None)
        )


def _single(text: str, wanted: PerturbationType | None) -> list[Perturbation] | None:
    """One known name; the substance instead of its salt, if both are known."""
    text = _HANDED.sub("", text) or text
    free = bare(text)
    for form in (free, text) if free != text else (text,):
        found = resolve_perturbation(form, wanted)
        if found is None and wanted != "genetic":
            found = resolve_perturbation(form)
        if found and not _is_doubtful_code(form, found):
            return [found]
    return None


def _is_doubtful_code(text: str, found: Perturbation) -> bool:
    """Whether only the large lists of drugs know a short form (HG for mercury), or in capitals (Eto for ETO)."""
    if not text.isalpha() or len(text) > SHORT + 1 or lookup(text) or named_protein(text) or found.type == "genetic":
        return False
    return len(text) <= SHORT or not (text.isupper() or lookup(found.name))


def _changed_and_given(label: str) -> list[Perturbation] | None:
    """`IRF1 KO + IFNg` in a column of genes: what is said of a gene is not said of the protein given behind it."""
    parts = [part for part in _GIVEN_BESIDE.split(label) if part]
    for size in range(len(parts) - 1, 0, -1):
        changed = read_guides(" ".join(parts[:size]))
        given = _all_of([_single(part, None) for part in parts[size:]])
        if changed and given and all(gene.direction is not None for gene in changed):
            return [*changed, *given]
    return None


def _numberless(label: str) -> str:
    return LOOSE_NUMBER.sub("", label)


def _drugs(found: list[Perturbation] | None) -> list[Perturbation] | None:
    """Drop doses from drug names; in names of cytokines and genes a loose number belongs to the name."""
    return found if found and all(part.type == "drug" for part in found) else None


def _literal(label: str, wanted: PerturbationType | None) -> list[Perturbation] | None:
    """`[('Belinostat', 5.0, 'uM')]` and other Python literals: every text in it that is not a unit must be a name."""
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
    return _single(text, wanted) or _bracketed(text, wanted) or (read_guides(text) if wanted == "genetic" else None)


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
    """`IL-4 + IL-13`, `LPS_IFNg`: parts that are all known, or control arms, which are dropped."""
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


def _joined(one: Perturbation, other: Perturbation) -> Perturbation:
    """Combine two perturbations. Expectations are united; conflicting ones are dropped."""
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
