"""Resolve the name of a treatment to a `Perturbation` by name, synonym or normalised form, never by guessing."""

from __future__ import annotations

import re

from haystack.contracts.query import Direction, Perturbation, PerturbationType
from haystack.errors import nearest
from haystack.knowledge.catalogue import catalogue, classes, index, known
from haystack.knowledge.chebi import chebi_drug
from haystack.knowledge.genetic import gene_symbol, protein_gene
from haystack.knowledge.guides import read_guides
from haystack.knowledge.ligands import named_protein
from haystack.knowledge.names import agent, bare, key, unbracketed
from haystack.knowledge.unii import unii_drug
from haystack.ontology.everyday import english_words
from haystack.ontology.normalise import word_set

MAX_LENGTH = 200
TREATMENT = re.compile(
    r"[\s-]+(?:treatment|treated|stimulation|stimulated|exposure|exposed|induced|therapy|challenge|response)$",
    re.IGNORECASE,
)
BLOCKADE = re.compile(
    r"^(?:anti[\s-]?|α|a(?=[A-Z]{2}))(?=\S)|"
    r"[\s-]+(?:blockade|neutrali[sz]ation|blocking antibody|inhibitors?|antagonists?|blockers?)$"
)
_ANTI = re.compile(r"anti-|α(?=[A-Z])", re.IGNORECASE)
_AGONIST = re.compile(
    r"(?:agonist(?:ic)?|activating)\s+(?:anti[\s-]?)?(?P<target>\S+)(?:\s+(?:monoclonal\s+)?antibod(?:y|ies))?|"
    r"(?:anti[\s-]?)?(?P<behind>\S+)\s+agonist(?:ic)?\s+antibod(?:y|ies)",
    re.IGNORECASE,
)
DOSE = re.compile(
    r"[\s_,]*[\s_,(@]\s*\d+(?:[.,]\d+)?\s*(?:[pnuµμm]?M|[pnuµμm]?g/m[lL]|[km]?[IU]?U/m[lL]|units?/m[lL]|mg/kg|%|"
    r"h|hrs?|hours?|d|days?|min(?:utes?)?)\)?$"
)
DRUG_WORDS = word_set("""
    acetaminophen alcohol allegra alumina aluminium beeswax botox cacao carbon chalk chocolate citrate cornstarch
    deuterium ecstasy glucose menthol motrin niacin oxycontin petroleum phospholipids quartz ritalin roundup
    seawater silica silicate sulphur teflon tylenol valium versed vinegar vodka
""")
"""English words that are a usual name of a substance"""
CONTROLS = {
    "ctrl",
    "control",
    "controls",
    "untreated",
    "unstimulated",
    "vehicle",
    "none",
    "pbs",
    "dmso",
    "mock",
    "medium",
}


def resolve_perturbation(text: str, hint: PerturbationType | None = None) -> Perturbation | None:
    """The perturbation that `text` names, or None when nothing known is named.

    Looked up in this order: names and synonyms of the tables (case, hyphens, Greek letters, salts and words such as
    `recombinant human` or `treatment` do not matter); genetic perturbations (`STAT1 knock-out`); drugs by their ChEBI
    name. Only with `hint="genetic"` does a bare gene symbol count, without a direction, because the words do not say
    whether the gene was lost or gained.

    Parameters
    ----------
    text
        the words of a question or the label of an atlas.
    hint
        what kind it must be; a find of another kind is not returned. `unknown` is no hint.

    Returns
    -------
    Perturbation
        a fresh copy with `query` set to `text`.
    """
    wanted = None if hint == "unknown" else hint
    stripped = text.strip()
    if not stripped or len(stripped) > MAX_LENGTH:
        return None
    found = _resolve(stripped, wanted)
    if found is None or (wanted and found.type != wanted):
        return None
    return found.model_copy(update={"query": text}, deep=True)


def perturbations() -> list[Perturbation]:
    """All perturbations of the tracked tables, cytokines first, without the classes of compounds.

    The list may be changed, its items are shared.
    """
    return list(catalogue().values())


def suggest_perturbations(text: str, n: int = 5) -> list[str]:
    """Canonical names most similar to `text`, best first, unique.

    For a bare gene symbol its possible perturbations; for several names in one text each of them; for a control label
    none.
    """
    symbol = gene_symbol(text)
    found: list[str] = [f"{symbol} knock-out", f"{symbol} overexpression"] if symbol else []
    if text.strip().lower() in CONTROLS:
        return []
    for part in re.split(r"\s*[+&,;/]\s*|\s+(?:and|or|plus)\s+", text):
        one = lookup(part)
        if one:
            found.append(one)
    everything = catalogue() | classes()
    names = {synonym: p.name for p in everything.values() for synonym in (*p.synonyms, p.name)}
    for near in nearest(bare(text)[:MAX_LENGTH], names, n=4 * n):
        found.append(names[near])
    stem = key(text)
    if len(stem) >= 3:
        found += [name for k, name in index().items() if k.startswith(stem)]
    return list(dict.fromkeys(found))[:n]


def _resolve(text: str, wanted: PerturbationType | None) -> Perturbation | None:
    if wanted == "genetic":
        return _genetic(text, said=False)
    name = lookup(text)
    if name:
        return known(name)
    return _agonist(text) or _blockade(text) or _genetic(text) or _chebi(text) or named_protein(text) or _unii(text)


def lookup(text: str) -> str | None:
    """Canonical name of the table row named by `text`."""
    for form in _forms(text):
        name = index().get(key(form))
        if name:
            return name
    parts = [part for part in text.split(";") if part.strip()]
    if len(parts) > 1:
        names = {index().get(key(part)) for part in parts}
        return names.pop() if len(names) == 1 else None
    return None


def _forms(text: str) -> list[str]:
    """The text, then variants without doses, times, `treatment`, salts, `recombinant human`."""
    undosed = text.strip()
    while DOSE.search(undosed):
        undosed = DOSE.sub("", undosed)
    forms = [text]
    for start in dict.fromkeys((text, undosed)):
        for form in (start, TREATMENT.sub("", start)):
            forms += [form, bare(form), re.sub(r"^α(?=[A-Z])", "anti-", form), agent(form)]
    forms += unbracketed(text)
    return list(dict.fromkeys(forms))


def _blockade(text: str) -> Perturbation | None:
    """`anti-IL-6`, `TNF blockade`: genes raised by the cytokine are expected to decrease."""
    rest = BLOCKADE.sub("", text)
    name = lookup(rest) if rest != text else None
    if name is not None and known(name).type == "cytokine":
        return blockade(known(name))
    symbol = gene_symbol(rest) or gene_symbol(rest.replace("-", "")) if _ANTI.match(text) else None
    return acting_on(symbol, "blockade", text, -1) if symbol else None


def _agonist(text: str) -> Perturbation | None:
    """An antibody that activates its receptor: `agonistic anti-CD40`, `4-1BB agonist antibody`."""
    match = _AGONIST.fullmatch(text)
    symbol = protein_gene(match["target"] or match["behind"]) if match else None
    return acting_on(symbol, "agonist", text, 1) if symbol else None


def acting_on(symbol: str, word: str, query: str, direction: Direction) -> Perturbation:
    """A drug known only by its target gene (CSF1R inhibitor, anti-IL-6R)."""
    ids = {"HGNC": symbol}
    name = f"{symbol} {word}"
    return Perturbation(query=query, name=name, type="drug", external_ids=ids, targets=[symbol], direction=direction)


def blockade(cytokine: Perturbation) -> Perturbation:
    """Blockade of a cytokine: the class of such antibodies, if the tables have one.

    Otherwise type drug with the cytokine's genes as targets and reversed expectations.
    """
    for word in (cytokine.name, *cytokine.synonyms):
        name = index().get(key(f"{word} blockade"))
        if name:
            return known(name)
    genes = cytokine.external_ids.get("HGNC", "").split(";")
    return Perturbation(
        query=f"anti-{cytokine.name}",
        name=f"anti-{cytokine.name}",
        type="drug",
        synonyms=[f"anti-{synonym}" for synonym in cytokine.synonyms],
        receptors=cytokine.receptors,
        targets=[gene for gene in genes if gene],
        signalling=[f"{item} (blocked)" for item in cytokine.signalling],
        expected_targets={gene: -sign for gene, sign in cytokine.expected_targets.items()},
        expected_tfs={gene: -sign for gene, sign in cytokine.expected_tfs.items()},
        expected_pathways={name: -sign for name, sign in cytokine.expected_pathways.items()},
    )


def _genetic(text: str, *, said: bool = True) -> Perturbation | None:
    """Perturbation of one gene; `said`: only if the text states how."""
    found = read_guides(text)
    return found[0] if found and len(found) == 1 and not (said and found[0].direction is None) else None


def _chebi(text: str) -> Perturbation | None:
    for form in _forms(text):
        hit = chebi_drug(form)
        if hit:
            identifier, name = hit
            return Perturbation(query=text, name=name, type="drug", external_ids={"ChEBI": identifier})
    return None


def _is_only_a_brand(word: str, name: str) -> bool:
    """Whether an English word is the brand of some pesticide or drug (laser, blockade, vortex), not its name."""
    return word.lower() in english_words() - DRUG_WORDS and key(word) not in key(name)


def _unii(text: str) -> Perturbation | None:
    """A drug by another name (brand, code, abbreviation) in FDA's list of ingredients."""
    for form in _forms(text):
        hit = None if form.lower() in CONTROLS else unii_drug(form)
        if hit and not _is_only_a_brand(form, hit[1]):
            identifier, name = hit
            name = bare(name) if unii_drug(bare(name)) or chebi_drug(bare(name)) else name  # warfarin sodium
            found = known(index()[key(name)]) if key(name) in index() else _chebi(name)
            return found or Perturbation(query=text, name=name, type="drug", external_ids={"UNII": identifier})
    return None
