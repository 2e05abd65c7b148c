"""Labels of the perturbation column that mean control."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from haystack.atlas.columns import LabelColumn, MissingNamed, missing_words, obs_columns, plain, read_labels
from haystack.atlas.layouts import GENERIC, NAMES, key_of
from haystack.errors import AtlasError, suggest
from haystack.knowledge.retired import current_symbols

if TYPE_CHECKING:
    from haystack.atlas.store import Store
    from haystack.config import AtlasEntry

_BOOLEANS = {"false": {"no", "off"}, "true": {"yes", "on"}}
"""labels that YAML reads as booleans"""
_PHRASES = re.compile(
    r"(non?|un|not|safe|neg|negative)[\s_.-]?(target(ed|ing)?|treat(ed|ment)|stim(ulated|ulation)?|infect(ed|ion)|"
    r"perturbed|perturbation|drug|compound|cytokine|ligand|virus|antigen|exposed|transduced|transfected|edited|vaccinated|ctrl?s?|controls?|guides?|grnas?|sgrnas?|harbou?r)"
    r"|untreated|unstim(ulated)?|dimethyl[\s_-]?sul(f|ph)oxide|wild[\s_-]?type|empty[\s_-]?vector|phosphate[\s_-]?buffered[\s_-]?saline"
    r"|isotype[\s_-]?(control|ctrl)?",
    re.IGNORECASE,
)
_WORDS = re.compile(
    r"(si|sh|sg|g)?(ctrls?|ctls?|controls?|scrambled?|scr|ntc?|nts|neg|negctrl|ntctrl|luc|luciferase|gfp|lacz)|vehicle|veh|"
    r"dmso|pbs|hbss|saline|water|mock|sham|wt|wildtype|parental|intergenic|baseline|resting|blank|empty|ev|igg|medium|media|"
    r"unperturbed|uninfected|nontarget(ing)?|(si|sh|sg|g)?(aavs|rosa)|rpmi|dmem|placebo|unedited"
)
_ZERO = re.compile(
    r"(?<![\d.,])0+([.,]0+)?[\s_-]*([npumµμ]?(m|mol|g)(/ml)?|h|hrs?|hours?|min|d|days?)(?![a-z])", re.IGNORECASE
)
"""a dose or a time of zero"""
_BARE = re.compile(r"neg|gfp|luc|g?neg")
"""words that mean a control only next to another control word, or after si, sh, sg"""
_FILLERS = re.compile(
    r"[a-z]|guides?|sg|si|sh|[sg]grna|grna|s[ih]rna|rna|tf|only|alone|cells|condition|group|sample|rep|replicate|donor|day|"
    r"hrs?|hours?|min|um|nm|mm|ng|ml|ug|non|neg|negative|no|none|treatment|treated|infected|transfected|transduced|"
    r"stimulated|exposed|vaccinated|surgery|and|plate|well|batch|human|culture|site"
)
"""words allowed next to those: units, times, numbers of guides"""


def read_perturbations(store: Store, entry: AtlasEntry) -> LabelColumn:
    """Read the perturbation column of an entry; if missing labels are control labels, they become a category."""
    asked = _asked(entry)
    column = read_labels(store, str(entry.obs.perturbation), "obs.perturbation", keep=frozenset(asked))
    words = {label.strip().casefold() for label in column.categories}
    absent = [label for label in entry.control_labels if label.strip().casefold() in missing_words() - words]
    return MissingNamed(column, absent[0] or "nan") if absent else column


def control_codes(store: Store, entry: AtlasEntry, categories: Iterable[str]) -> set[str]:
    """Codes of the labels in `categories` that mean control.

    Case and outer blanks do not matter; `*` and `?` in control_labels match any text and any character.

    Raises
    ------
    AtlasError
        if there are none (lists the existing labels), or if other labels look like controls and are neither listed nor
        named in perturbation_names.
    """
    labels = list(categories)
    if not labels:
        raise store.error(f"no cell is left: column '{entry.obs.perturbation}' labels none")
    found = {label for label in labels if is_control(label, entry)}
    if not found:
        hint = suggest(entry.control_labels[0], labels[:200])
        raise store.error(
            f"no cell of column '{entry.obs.perturbation}' has a control label "
            f"({', '.join(entry.control_labels)}).{hint} Correct control_labels of its entry"
        )
    named = {plain(label) for label in entry.perturbation_names}
    missed = [label for label in labels if label not in found and label not in named]
    missed = [label for label in missed if looks_like_control(label)]
    if missed:
        listed = ", ".join(quoted(label) for label in [*entry.control_labels, *as_patterns(missed)])
        names = ", ".join(f"{quoted(label)}: {quoted(label)}" for label in missed[:3])
        raise store.error(
            f"column '{entry.obs.perturbation}' has labels that look like controls and are not listed: "
            f"{', '.join(missed[:6])}{' ...' if len(missed) > 6 else ''}. Set control_labels: [{listed}] in its "
            "entry, or, for "
            f"what is a treatment of its own, perturbation_names: {{{names}}}"
        )
    return found


def is_control(label: str, entry: AtlasEntry) -> bool:
    """Whether control_labels of the entry list a label, directly or by a pattern."""
    word = label.strip().casefold()
    return any(
        word == asked or (("*" in asked or "?" in asked) and fnmatch.fnmatchcase(word, asked))
        for asked in _asked(entry)
    )


def looks_like_control(label: str) -> bool:
    """Whether a label reads as a control: `DMSO`, `non-targeting_2`, `vehicle (0.1% PBS)`, `IL-6_0nM`; not `ctrl+KLF1`.

    >>> [looks_like_control(word) for word in ("Untreated", "NegCtrl0_NegCtrl1", "ctrl+KLF1", "IFN-beta")]
    [True, True, False, False]
    """
    if _ZERO.search(label):
        return True
    gene = re.sub(r"[-_. ](sg|g)?\d{1,2}$", "", label.strip().upper())
    if {gene, label.strip().upper()} & current_symbols() - {"CTRL"}:
        return False  # WT1, NT5E_2; the gene CTRL is never meant
    rest, phrases = _PHRASES.subn(" ", label.strip())
    tokens = [token for token in re.split(r"[^a-z]+", re.sub(r"[ACGT]{15,}", " ", rest).casefold()) if token]
    words = [token for token in tokens if _WORDS.fullmatch(token) and not _BARE.fullmatch(token)]
    rest_fits = all(_WORDS.fullmatch(token) or _FILLERS.fullmatch(token) for token in tokens)
    return rest_fits and bool(phrases or words)


def is_zero(label: str) -> bool:
    """Whether the label of a dose or time is zero, with or without a unit."""
    return bool(_ZERO.fullmatch(label) or re.fullmatch(r"0+([.,]0+)?", label))


def as_patterns(labels: Iterable[str]) -> list[str]:
    """Labels as entries of control_labels; three or more that differ in a final number become a pattern."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(re.sub(r"\d+$", "", label), []).append(label)
    return [word for stem, many in groups.items() for word in ([f"{stem}*"] if len(many) > 2 and stem else many)]


def quoted(label: str) -> str:
    """A label quoted for a YAML list."""
    import json

    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9 _.+/-]*", label) and label.strip() == label
    return (
        label
        if plain and label.casefold() not in {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
        else json.dumps(label, ensure_ascii=False)
    )


def _asked(entry: AtlasEntry) -> set[str]:
    asked = {label.strip().casefold() for label in entry.control_labels}
    return asked.union(*(_BOOLEANS.get(label, set()) for label in asked))


def unused_treatments(store: Store, named: Iterable[str]) -> str | None:
    """What an entry without obs.perturbation should know of a column that seems to say what was done to cells.

    Without it all cells of an atlas count as untreated. Columns in `named` have another meaning.
    """
    taken = set(named)
    for column in obs_columns(store):
        key = key_of(column)
        if key not in NAMES["perturbation"] or column in taken:
            continue
        try:
            labels = read_labels(store, column, "obs").categories[:200]
        except AtlasError:  # it names cells
            continue
        if labels and (key not in GENERIC - {"stim", "stimulation"} or any(map(looks_like_control, labels))):
            shown = ", ".join(labels[:3])
            return (
                f"all cells count as untreated. If obs column '{column}' ({shown}) says what was done to them, set "
                "obs.perturbation and control_labels"
            )
    return None
