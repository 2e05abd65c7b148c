"""Normalise names to keys that ignore case, hyphens, Greek letters and spelled-out words."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

GREEK = {
    "α": "alpha",
    "β": "beta",
    "ß": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "epsilon",
    "ζ": "zeta",
    "θ": "theta",
    "κ": "kappa",
    "λ": "lambda",
    "τ": "tau",
    "ω": "omega",
}
LETTER = {
    "alpha": "a",
    "alfa": "a",
    "beta": "b",
    "gamma": "g",
    "delta": "d",
    "epsilon": "e",
    "kappa": "k",
    "lambda": "l",
    "omega": "o",
}
SPELLED = (
    ("interleukin", "il"),
    ("interferon", "ifn"),
    ("transforminggrowthfactor", "tgf"),
    ("tumornecrosisfactor", "tnf"),
    ("fibroblastgrowthfactor", "fgf"),
    ("plateletderivedgrowthfactor", "pdgf"),
    ("bonemorphogeneticprotein", "bmp"),
    ("colonystimulatingfactor", "csf"),
    ("lymphotoxin", "lt"),
)
MISTYPED = ("infalpha", "infbeta", "infgamma", "inflambda")
# A Greek letter is shortened only behind these stems, so that `beta-estradiol` and `gamma-secretase` keep theirs.
GREEK_STEM = re.compile(
    r"^(ifn|tgf|tnf|lt|il\d+|il\d+ra?|fgf|groi?)(alpha|alfa|beta|gamma|delta|epsilon|kappa|lambda|omega)(\d*[a-z]?)$"
)
TURNED = re.compile(r"^(alpha|beta|gamma|lambda|omega)(interferon|ifn)$")
# What people put around the name of a substance without changing what it is.
PREFIX = re.compile(
    r"^(?:(?:recombinant|human|murine|mouse|rh|rhu|r-?h|soluble|native|purified|exogenous)[\s-]+|(?:rh|h)(?=IL|TNF|IFN|TGF))",
    re.IGNORECASE,
)
SALTS = (
    "hydrochloride|dihydrochloride|hcl|2hcl|hydrobromide|mesylate|dimesylate|methanesulfonate|maleate|malate|fumarate|"
    "hemifumarate|tosylate|ditosylate|citrate|phosphate|diphosphate|sulfate|sulphate|hemisulfate|sodium|disodium|potassium|"
    "calcium|acetate|tartrate|succinate|besylate|lactate|nitrate|bromide|chloride|hydrate|monohydrate|dihydrate|"
    "trihydrate|hemihydrate|free base|anhydrous|dimethyl sulfoxide|dmso|trifluoroacetate|tfa|salt|"
    "bisulfate|fumaric acid|propanediol|magnesium|bitartrate|"
    "propionate|valerate|furoate|palmitate|enanthate|pivalate|meglumine|tromethamine|olamine|lysine|"
    "adipate|oxalate|esylate|camsylate|isethionate|gluconate|stearate|pamoate|embonate"
)
SALT = re.compile(rf"[\s,]+(?:\(?(?:mono|di|tri|hemi)?(?:{SALTS})\)?)$", re.IGNORECASE)
CATIONS = {"sodium", "potassium", "lithium", "magnesium", "calcium", "zinc", "iron", "copper", "ammonium", "cobalt"}
"""cations of salts, which are not substances by themselves"""
ACTIONS = {"inhibition": "inhibitor", "antagonism": "antagonist", "agonism": "agonist", "activation": "activator"}
_ACTION = re.compile(rf"\b({'|'.join(ACTIONS)})$", re.IGNORECASE)
BRACKETS = re.compile(r"\s*[(\[]([^()\[\]]{3,})[)\]]\s*")


_AMOUNT = re.compile(r"[\d.,]+\s*[A-Za-zµμ/%]{0,6}")
_NO_KEY = re.compile(r"[^a-z0-9+]")


@lru_cache(maxsize=200_000)
def key(text: str) -> str:
    """The compact form used for look-up; empty for text without letters or digits.

    >>> key("IFN-γ") == key("interferon gamma") == key("IFNg") == "ifng"
    True
    """
    text = text.lower()
    if not text.isascii():
        text = "".join(GREEK.get(letter, letter) for letter in text)
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
        text = "".join(GREEK.get(letter, letter) for letter in text)
    compact = _NO_KEY.sub("", text.replace("tumour", "tumor")).rstrip("+")
    if compact.startswith(MISTYPED):  # INF-gamma
        compact = "ifn" + compact[3:]
    turned = TURNED.match(compact)
    if turned:
        compact = turned[2] + turned[1]
    for long, short in SPELLED:
        if compact.startswith(long):
            compact = short + compact[len(long) :]
    match = GREEK_STEM.match(compact)
    if match:
        compact = match[1] + LETTER[match[2]] + match[3]
    return compact


def agent(text: str) -> str:
    """The class of compounds with the described effect: HDAC inhibition -> HDAC inhibitor."""
    return _ACTION.sub(lambda match: ACTIONS[match[1].lower()], text)


def bare(text: str) -> str:
    """The name without a leading `recombinant human` and trailing salts; sodium chloride stays what it is."""
    previous = ""
    while previous != text:
        previous = text
        text = PREFIX.sub("", text.strip())
        text = SALT.sub("", text)
        if text.strip().lower() in CATIONS:
            return previous.strip()
    return text.strip()


def unbracketed(text: str) -> list[str]:
    """The name outside the brackets of `Belinostat (PXD101)`, without its salt, then those inside.

    A salt or a number in brackets (`Palbociclib (hydrochloride)`) is not a name. Empty for a text without brackets.
    """
    inside = BRACKETS.findall(text)
    if not inside:
        return []
    outer = bare(BRACKETS.sub(" ", text))
    names = [outer, *(word for words in inside for word in re.split(r"\s*[,;]\s*", words))]
    return [name for name in names if len(name) >= 3 and not _AMOUNT.fullmatch(name) and bare(f"x {name}") != "x"]
