"""Names of animals, plants and microbes: questions must be about human cells, so other species are refused.

The tracked table has the mammals with a common name and the model organisms of NCBI Taxonomy (public domain), as in
cellxgene-ontology-guide, and common adjectives (murine, porcine).
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from functools import cache

from haystack.ontology.index import resources

FILE = "taxa.tsv.gz"
LONGEST = 4  # words of a name
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*\.?")
# A reagent made from an animal says nothing about the species of the cells.
_REAGENT_BEHIND = re.compile(
    r"^[\s-]*(?:(?:tail|fetal|foetal|polyclonal|monoclonal|skin|red|serum|dust)\s+)?(?:serum|albumin|collagen|ig[gm]|antibod\w+|insulin|feeders?|erythrocytes?|red\s+blood|anti|matrix|"
    r"lps|lipopolysaccharide|gelatin|thrombin|trypsin|extract|lysates?|toxin|virus|flu|influenza|coronavirus|allergens?|"
    r"dander|dust|venom|pox\w*|tumou?r\s+virus)\b",
    re.IGNORECASE,
)
_REAGENT_BEFORE = re.compile(
    r"(?:\banti[\s-]|\b(?:infected|challenged|stimulated|pulsed|fed|cocultured|co-cultured)\s+with\s+)$", re.IGNORECASE
)
# Bacteria, yeasts and the like are stimuli where human cells are named: LPS from E. coli.
MICROBES = {f"NCBITaxon:{number}" for number in (562, 4932, 4896, 1423, 44689, 3055)}


@dataclass(frozen=True)
class Species:
    """A species named in a text."""

    start: int
    end: int
    taxon_id: str
    name: str


@cache
def taxa() -> dict[str, tuple[str, str]]:
    """Lower-case name -> (NCBITaxon id, scientific name)."""
    names = {}
    for line in gzip.decompress((resources() / FILE).read_bytes()).decode().splitlines():
        name, taxon_id, label = line.split("\t")
        names[name] = (taxon_id, label)
    return names


def find_species(text: str) -> list[Species]:
    """Species other than human whose cells a text is about, in order; reagents (bovine serum) are ignored."""
    words = list(_WORD.finditer(text))
    species: list[Species] = []
    for number, word in enumerate(words):
        if species and word.start() < species[-1].end:
            continue
        for size in range(min(LONGEST, len(words) - number), 0, -1):
            last = words[number + size - 1]
            name = " ".join(text[word.start() : last.end()].lower().split())
            hit = _taxon(name) or _taxon(name.rstrip("."))
            acronym = size == 1 and word[0].isupper() and len(word[0]) < 5 and not text.isupper()  # BAT
            if (
                hit is None
                or acronym
                or _REAGENT_BEHIND.match(text[last.end() :])
                or _REAGENT_BEFORE.search(text[: word.start()])
            ):
                continue
            species.append(Species(word.start(), last.end(), *hit))
            break
    return species


def _taxon(name: str) -> tuple[str, str] | None:
    known = taxa()
    return (
        known.get(name) or (known.get(name[:-1]) if name.endswith("s") else None) or known.get(name.removesuffix("'s"))
    )
