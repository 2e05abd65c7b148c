"""Cell-type labels -> canonical words: markers with sign, abbreviations spelled out, one word per thing.

`CD14⁺ Mono`, `CD14-positive monocytes` and `monocyte, CD14+` give the same words, so that names compare as sets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from haystack.ontology.index import resources
from haystack.ontology.normalise import american, plain, singular

# Adjective or variant -> the word that the others share. Applied to questions and to ontology names alike.
SAME = {
    "cardiac": "heart", "myocardial": "heart", "renal": "kidney", "hepatic": "liver", "pulmonary": "lung",
    "cutaneous": "skin", "gastric": "stomach", "enteric": "intestine", "intestinal": "intestine", "gut": "intestine",
    "colonic": "colon", "splenic": "spleen", "thymic": "thymus", "pancreatic": "pancreas", "cerebral": "cerebrum",
    "arterial": "artery", "venous": "vein", "venular": "venule", "arteriolar": "arteriole", "lymphatic": "lymph-vessel",
    "endothelium": "endothelial", "epithelium": "epithelial", "mesothelium": "mesothelial", "urothelium": "urothelial",
    "mesenchyme": "mesenchymal", "stroma": "stromal", "proliferating": "cycling", "proliferative": "cycling",
    "dividing": "cycling", "mitotic": "cycling", "precursor": "progenitor", "lymphoid-tissue": "lymphoid",
    "hemopoietic": "hematopoietic", "follicle": "follicular", "gammadelta": "gamma-delta", "alphabeta": "alpha-beta",
    "myocyte": "muscle", "myofiber": "muscle", "muscular": "muscle", "airway": "respiratory", "cytotoxicity": "cytotoxic",
    "bronchial": "bronchus", "tracheal": "trachea", "nasal": "nose", "esophageal": "esophagus", "uterine": "uterus",
    "ovarian": "ovary", "testicular": "testis", "prostatic": "prostate", "mammary": "breast", "retinal": "retina",
    "corneal": "cornea", "placental": "placenta", "decidual": "decidua", "atrial": "atrium", "ventricular": "ventricle",
    "aortic": "aorta", "coronary": "coronary", "glomerular": "glomerulus", "tubular": "tubule", "medullary": "medulla",
    "cortical": "cortex", "alveolar": "alveolus", "bronchiolar": "bronchiole", "epidermal": "epidermis", "dermal": "dermis",
    "adrenal": "adrenal", "hippocampal": "hippocampus", "cerebellar": "cerebellum", "ileal": "ileum", "jejunal": "jejunum",
    "duodenal": "duodenum", "rectal": "rectum", "tonsillar": "tonsil", "meningeal": "meninges", "neuronal": "neuron",
    "astrocytic": "astrocyte", "glial": "glia", "microglial": "microglia", "monocytic": "monocyte", "lymphocytic": "lymphocyte",
    "fibroblastic": "fibroblast", "adipocytic": "adipocyte", "fat": "adipose", "islets": "islet", "lumenal": "luminal",
    "ii": "2", "iii": "3", "iv": "4", "two": "2", "three": "3", "one": "1", "adventitia": "adventitial", "capillar": "capillary",
    "fetus": "fetal", "foetal": "fetal", "embryo": "embryonic", "differentiating": "differentiating", "secreting": "secretory",
    "producing": "secretory", "resting": "resting", "neuroendocrine": "neuroendocrine", "lined": "lining",
    "ionocytes": "ionocyte", "pneumocyte": "pneumocyte", "respirat": "respiratory", "visceral": "visceral", "ciliate": "ciliated",
    "vascular": "vascular", "vessel": "vessel", "circulating": "circulating", "homo": "human", "sapiens": "human",
}  # fmt: skip

STOP = {
    "cell",
    "of",
    "the",
    "and",
    "in",
    "with",
    "a",
    "an",
    "from",
    "to",
    "or",
    "like",
    "population",
    "subset",
    "cluster",
    "type",
}
# Words of ontology names that people leave out: their absence in a label costs little.
IMPLIED = {
    "alpha-beta",
    "human",
    "thymus-derived",
    "associated",
    "regular",
    "lineage",
    "lymphocyte",
    "conventional",
    "tissue",
}

_MARKER = re.compile(
    r"(?<![a-z0-9])"
    r"(cd\d+[a-z]?|cd8-alpha|hla-?dr|ig[adegm]|mhc-?ii|[a-z][a-z0-9]{1,9}\d[a-z0-9]*|[a-z]{2,8}\d*)"
    r"\s?(\+\+|--|\+|-?(?:positive|negative|pos|neg|bright|dim|high|hi|low|lo|int|intermediate)\b|-(?=[\s,;/)_]|$|cd\d|[a-z0-9]+\+))"
)
_BARE_MARKER = re.compile(r"(?<![a-z0-9])(cd\d+[a-z]?)(?![a-z0-9!+-])")
_SIGN = {
    "+": "", "++": "!high", "positive": "", "pos": "", "-": "!neg", "--": "!neg", "negative": "!neg", "neg": "!neg",
    "bright": "!high", "high": "!high", "hi": "!high", "dim": "!low", "low": "!low", "lo": "!low",
    "int": "!int", "intermediate": "!int",
}  # fmt: skip
_MARKER_SAME = {"fcgr3a": "cd16", "ncam1": "cd56", "il2ra": "cd25", "il7r": "cd127", "itgax": "cd11c", "itgae": "cd103",
                "thbd": "cd141", "bdca1": "cd1c", "bdca3": "cd141", "bdca2": "cd303", "ms4a1": "cd20", "cd8a": "cd8",
                "cd3e": "cd3", "kit": "cd117"}  # fmt: skip
_NOT_MARKERS = {
    "cell",
    "type",
    "low",
    "high",
    "double",
    "triple",
    "single",
    "early",
    "late",
    "pre",
    "pro",
    "non",
    "type1",
}


@dataclass(frozen=True)
class Abbreviation:
    """One row of resources/ontology/abbreviations.tsv."""

    short: str
    expansion: str
    scope: str  # word: anywhere in a label; label: only when it is the whole label
    source: str


@cache
def abbreviations() -> dict[str, Abbreviation]:
    """The tracked table, by key (lower case, words separated by one space)."""
    table = {}
    for line in (resources() / "abbreviations.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        if line and not line.startswith("#"):
            short, expansion, scope, source = line.split("\t")
            table[" ".join(_split(plain(short)))] = Abbreviation(short, expansion, scope, source)
    return table


@lru_cache(maxsize=100_000)
def words(text: str, *, expand: bool = True) -> tuple[str, ...]:
    """Canonical words of a label, in order, without repeats. Markers carry their sign: cd16!neg, cd56!high, cd14.

    `expand=False` leaves abbreviations alone (for the ontology's own names).
    """
    spelled = _split(_camel(text))
    if expand:
        spelled = _expand(spelled)
    found: dict[str, None] = {}
    for word in spelled:
        word = SAME.get(word, word)
        if word not in STOP:
            found[word] = None
    return tuple(found)


def _camel(text: str) -> str:
    """`ChoroidPlexus` -> `choroid plexus`; short mixed-case words (pDC, gdT, moDC) stay whole."""
    text = re.sub(r"(?<=[a-z]{3})(?=[A-Z][a-z]{3})", " ", text)
    return plain(text)


def _split(text: str) -> list[str]:
    """Lower-case words, markers joined with their sign."""
    text = american(text.replace("_", " "))
    text = re.sub(r"\b(gamma|alpha) ?[-/]? ?(delta|beta)\b", r"\1-\2", text)
    text = re.sub(r"\bnatural[- ]killers?\b", "nk", text)
    text = re.sub(r"\bnk[- ]?t\b|\bnkt\b", "nkt", text)
    text = re.sub(r"\b([tb])[- ](lympho)?cells?\b|\b([tb])[- ]lymphocytes?\b", lambda m: f" {m[1] or m[3]} ", text)
    text = re.sub(r"\bt[ (-]*(reg|h|fh)\)?(?![a-z])", r"t\1", text)
    text = re.sub(r"\b(non|un|pre|pro|anti|multi|post|mid|peri|sub|supra|semi)[- ](?=[a-z])", r"\1", text)
    text = _MARKER.sub(_signed, text)
    text = _BARE_MARKER.sub(r" \1 ", text)
    return [
        singular(_MARKER_SAME.get(word, word))
        for word in re.findall(r"[a-z0-9!][a-z0-9!'-]*[a-z0-9!']|[a-z0-9]", text)
        for word in _hyphens(word)
    ]


def _hyphens(word: str) -> list[str]:
    if word in {"gamma-delta", "alpha-beta", "thymus-derived"}:
        return [word]
    return [part for part in word.split("-") if part]


def _signed(match: re.Match[str]) -> str:
    name, sign = match[1], match[2].lstrip("-") or "-"
    if name in _NOT_MARKERS or (sign not in "+++--" and not re.search(r"\d", name) and len(name) < 3):
        return match[0]
    name = _MARKER_SAME.get(name.replace("-", ""), name.replace("-", ""))
    if name == "cd8alpha":
        name = "cd8-alpha".replace("-", "")
    return f" {name}{_SIGN[sign]} "


def _expand(spelled: list[str]) -> list[str]:
    """Abbreviations spelled out, longest first; cluster numbers glued to a known abbreviation (EC5) are dropped."""
    table = abbreviations()
    whole = table.get(" ".join(spelled))
    if whole:
        return _split(plain(whole.expansion))
    out: list[str] = []
    at = 0
    while at < len(spelled):
        for size in range(min(4, len(spelled) - at), 0, -1):
            row = table.get(" ".join(spelled[at : at + size]))
            if row is None and size == 1:
                stem = re.sub(r"\d+$", "", spelled[at])
                row = table.get(stem) if stem != spelled[at] and len(stem) > 1 else None
            if row and row.scope == "word":
                out += _split(plain(row.expansion))
                at += size
                break
        else:
            out.append(spelled[at])
            at += 1
    return out
