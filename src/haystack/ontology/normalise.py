"""Normalise text for comparison: Unicode, Greek letters, spelling, plurals, marker signs."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "ω": "omega",
    "Δ": "delta", "Γ": "gamma", "Ω": "omega",
}  # fmt: skip
_GREEK = str.maketrans({letter: f" {name} " for letter, name in GREEK.items()})
_SIGNS = str.maketrans(dict.fromkeys("‐‑‒–—−﹣－", "-") | {"’": "'", "‘": "'", "`": "'", "ß": "ss", "＋": "+"})

# British -> American stems; a rule each, applied inside words.
_BRITISH = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"haem", "hem"),
        (r"aemi", "emi"),
        (r"oedem", "edem"),
        (r"oesoph", "esoph"),
        (r"oestr", "estr"),
        (r"foet", "fet"),
        (r"paediatr", "pediatr"),
        (r"leuk?caem", "leukem"),
        (r"leuco", "leuko"),
        (r"\bcoeli", "celi"),
        (r"\bcaec", "cec"),
        (r"diarrhoea", "diarrhea"),
        (r"anaes", "anes"),
        (r"gynaec", "gynec"),
        (r"orthopaed", "orthoped"),
        (r"tumour", "tumor"),
        (r"colour", "color"),
        (r"fibre\b", "fiber"),
        (r"fibres\b", "fibers"),
        (r"centre\b", "center"),
        (r"litre\b", "liter"),
        (r"grey\b", "gray"),
        (r"sulph", "sulf"),
        (r"ischaem", "ischem"),
        (r"(\w{4})isation\b", r"\1ization"),
        (r"(\w{4})ised\b", r"\1ized"),
        (r"(\w{4})ising\b", r"\1izing"),
        (r"(\w{4})ise\b", r"\1ize"),
        (r"signalling", "signaling"),
    )
)
_PLURAL_KEEPS = re.compile(
    r"(ss|us|is|ous|itis|as|os|ics|ies|sis|xis|lens|series|species|pancreas|diabetes|herpes|rabies|aids|des)$"
)
_IRREGULAR = {
    "bodies": "body", "biopsies": "biopsy", "arteries": "artery", "capillaries": "capillary", "ovaries": "ovary",
    "kidneys": "kidney", "nuclei": "nucleus", "villi": "villus", "glia": "glial", "microglia": "microglial",
    "macroglia": "macroglial", "testes": "testis", "bronchi": "bronchus", "mice": "mouse", "alveoli": "alveolus",
    "mucosae": "mucosa", "ganglia": "ganglion", "vertebrae": "vertebra", "atria": "atrium", "ventricles": "ventricle",
    "epithelia": "epithelium", "endothelia": "endothelium", "thymi": "thymus", "nodes": "node",
    "phagocytes": "phagocyte", "bones": "bone", "tubes": "tube", "spindles": "spindle", "muscles": "muscle",
    "tissues": "tissue", "diseases": "disease",
    "oocytes": "oocyte", "glomeruli": "glomerulus", "follicles": "follicle", "adipose": "adipose", "lobes": "lobe",
    "carcinomata": "carcinoma",
    "spermatogonia": "spermatogonium", "oogonia": "oogonium", "spermatozoa": "spermatozoon",
    "eyes": "eye", "medullae": "medulla", "cortices": "cortex", "vas": "vas", "gas": "gas",
}  # fmt: skip


def word_set(text: str) -> frozenset[str]:
    """Return the set of words in `text`."""
    return frozenset(text.split())


def plain(text: str) -> str:
    """Lower-case text with compatible characters folded, Greek letters spelled out, and one kind of hyphen.

    >>> plain("IFN‐γ⁺")
    'ifn- gamma +'
    """
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS).translate(_GREEK)
    text = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    return text.lower()


def american(text: str) -> str:
    """British spelling -> American, inside lower-case text."""
    for pattern, replacement in _BRITISH:
        text = pattern.sub(replacement, text)
    return text


@lru_cache(maxsize=200_000)
def singular(word: str) -> str:
    """The singular of an English or Latin plural; other words unchanged."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 2 or not word.endswith("s") or not word[-2].isalpha():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "ches", "shes", "xes")):
        return word[:-2]
    if _PLURAL_KEEPS.search(word):
        return word
    return word[:-1]


@lru_cache(maxsize=400_000)
def key(text: str) -> str:
    """The normalised form used for look-up: words in order, singular, American, no punctuation.

    >>> key("Fibroblasts of the lung")
    'fibroblast of lung'
    """
    words = re.findall(r"[a-z0-9]+|[+]", american(plain(text)))
    return " ".join(singular(word) for word in words if word != "the")
