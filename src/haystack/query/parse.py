"""Parse a question in plain words into a StructuredQuery: offline, by rules, deterministic."""

from __future__ import annotations

import re

from haystack.contracts.query import StructuredQuery
from haystack.ontology.cellwords import is_abbreviation
from haystack.ontology.species import MICROBES, find_species
from haystack.query.assemble import assemble
from haystack.query.background import main_first, responded_to
from haystack.query.context import find_context
from haystack.query.entities import Entity, find_cell_types, find_diseases, find_tissues, tumour_cells
from haystack.query.findings import Findings
from haystack.query.genetics import GeneMention, claimed, find_genes, says_genetic, soft
from haystack.query.lists import share_head
from haystack.query.mentioned_lines import find_lines
from haystack.query.names import Name, exact_names, longest_first
from haystack.query.negation import Negation, find_negations, negated, share_negation
from haystack.query.outcomes import without_outcomes
from haystack.query.refuse import no_cell_type, not_human, unread_treatment
from haystack.query.spelling import Repaired, repair
from haystack.query.text import Span, blank_markup, split_words
from haystack.query.treatments import (
    CONTROLS,
    Treatment,
    bare_genes,
    complete_list,
    find_group,
    find_known,
    find_leftover,
    find_slots,
    find_unknown,
    genetic_treatments,
    in_one_list,
    is_druglike,
    joined_to,
    keep_members,
    names_member,
)

INFECTIOUS = "MONDO:0005550"
_CONTEXT_BEFORE = re.compile(
    r"\b(?:using|given|based on|prompted (?:with|by)|like|as in|"
    r"compared (?:to|with)|versus|vs\.?|than|unlike|trained on|"
    r"conditioned on|co-?cultured? with|"
    r"(?:media|medium|supernatants?|exosomes?|vesicles?)\s+(?:from|of)|in contrast to|"
    r"produced by|secreted by|derived from)\s+"
    r"(?:(?!(?:on|onto|in|to|for|affects?|changes?|alters?|do|does)\s)[\w+-]+\s+){0,3}$",
    re.IGNORECASE,
)
_MET = re.compile(
    r"\b(?:(?:respon|react)\w*\s+(?:\w+\s+){0,2}?to|co-?cultured?\s+(?:with|on))\s+(?:(?:the|a|an|some)\s+)?(?:\w+\s+)?$",
    re.IGNORECASE,
)
_INSTEAD = re.compile(
    r"^(?:\s+(?:was|were|is|are|be|been|had|have|being|used|given|added))*\s+(?P<word>instead)\b(?!\s+of)",
    re.IGNORECASE,
)
_HAVING = re.compile(
    r"\b(?:patients?|people|persons?|individuals?|donors?|subjects?|wom[ae]n|m[ae]n|child(?:ren)?|cases?|someone|adults?)\s+"
    r"(?:\w+\s+){0,2}?(?:with|having|infected\s+with)\s+(?:[\w-]+\s+){0,2}$",
    re.IGNORECASE,
)
_SERO = re.compile(
    r"^[\s-]+(?:sero(?:positive|negative)|(?:positive|negative)\s+(?:donors?|patients?|people|individuals?))\b",
    re.IGNORECASE,
)
_PATIENTS = re.compile(
    r"^[\s-]+(?:(?:sero)?(?:positive|negative)|infected)?\s*(?:patients?|donors?|individuals?|people|subjects?|cases?)\b",
    re.IGNORECASE,
)


def parse_by_rules(question: str) -> StructuredQuery:
    """The deterministic parser. `question` has passed `check_question`."""
    return finish(read(question))


def finish(findings: Findings) -> StructuredQuery:
    """Build the query from the findings, or raise the error that says why not."""
    named = [item.span for item in (*findings.cells, *findings.tissues, *findings.diseases)]
    named += [gene.span for gene in findings.genes if gene.trigger]
    for species in find_species(findings.text):
        source = species.taxon_id in MICROBES and findings.cells
        if not source and not any(where.holds(Span(species.start, species.end, "")) for where in named):
            raise not_human(findings.text, species)
    if not findings.cells and not findings.lines:
        raise no_cell_type(
            findings.text, findings.tokens, [t.span for t in findings.treatments] + findings.context.spans
        )
    _stop_at_unread(findings)
    return assemble(findings)


def _stop_at_unread(findings: Findings) -> None:
    """Refuse an unknown drug or gene if there is no other perturbation, because the question depends on it."""
    if findings.treatments or findings.group or findings.absent:
        return
    explained = [*findings.context.spans, *(e.span for e in [*findings.cells, *findings.tissues, *findings.diseases])]
    explained += [where for where, _ in findings.lines] + [gene.span for gene in findings.genes]
    for word in findings.tokens:
        where = Span(word.start, word.end, word.text)
        if is_druglike(word.text) and not any(where.overlaps(other) for other in explained):
            raise unread_treatment(findings.text, word.text)


def read(question: str) -> Findings:
    """Find all entities: exact names first, then from the words between them.

    A symbol beside a word such as knock-out is a gene, unless no cells are left then (SST, ATM).
    """
    repaired = repair(blank_markup(question))
    genes = claimed(repaired.text)
    findings = _read(question, repaired, genes)
    return _read(question, repaired, []) if genes and not findings.cells and not findings.lines else findings


def _read(question: str, repaired: Repaired, genes: list[Span]) -> Findings:
    text = repaired.text
    tokens = split_words(text)
    findings = Findings(question, text, tokens, find_context(text), repaired)
    if blank_markup(question) != question:
        findings.notes.append("markup in the question was ignored")
    findings.notes += [f"'{written}' was read as '{read}'" for _, written, read in repaired.repairs]
    negations = findings.negations = find_negations(text, tokens)
    taken = findings.context.fixed
    findings.group = find_group(text, findings.context.datasets)
    if findings.group:
        taken = [*taken, findings.group.span]
    names = exact_names(text)
    longer = [name.span for name in names if name.kind == "cell-type" and name.words > 1]  # H1 horizontal cell
    lines = find_lines(text, [*taken, *genes])
    findings.lines = [item for item in lines if not any(n.holds(item[0]) and n.start == item[0].start for n in longer)]
    taken = [*taken, *(where for where, _ in findings.lines)]
    sick = [name.span for name in names if name.kind == "disease" and name.words > 1]
    genes = [gene for gene in genes if not any(where.holds(gene) for where in sick)]  # due to ZAP70 deficiency
    names = [name for name in names if not any(name.span.overlaps(other) for other in [*taken, *genes])]
    known = find_known(text, taken)
    carried = [item for item in known if _SERO.match(text[item.span.end :])]  # CMV seropositive donors
    findings.classes = [item.span for item in carried]
    findings.notes += [f"'{item.span.text}' was read as what the donors carry, not as a treatment" for item in carried]
    taken = [*taken, *findings.classes]
    known = [item for item in known if item not in carried]
    names = [name for name in names if not any(name.span.overlaps(where) for where in findings.classes)]
    substances, settled = _settle(_not_sick(text, known, names), names)
    held = [*taken, *genes, *(item.span for item in substances)]
    findings.diseases = find_diseases([*settled, *(name for name in names if name.kind == "tissue")], held)
    findings.cells = tumour_cells(text, findings.diseases)
    held += [*(d.span for d in findings.diseases), *(c.span for c in findings.cells)]
    cell_names = [name for name in settled if name.kind == "cell-type"]
    cell_names = [name for name in cell_names if not _is_protein(name)] or cell_names
    cell_names += longest_first([name for name in names if name.kind == "tissue"], [cell.span for cell in cell_names])
    findings.cells += share_head(text, tokens, find_cell_types(text, tokens, held, cell_names), held)
    if not findings.cells and (short := [d for d in findings.diseases if is_abbreviation(d.span.text)]):
        findings.diseases = [d for d in findings.diseases if d not in short]  # TAM, CMP: cells too
        findings.cells = find_cell_types(
            text, tokens, [w for w in held if w not in [d.span for d in short]], cell_names
        )
    if not findings.cells and not findings.lines:
        findings.lines = find_lines(text, [*taken, *genes], short=True)
    if not findings.cells and not findings.lines:  # a short form of cells and of a compound (MDP) is what is missing
        findings.cells = [Entity(name.span, name.matches) for name in names if name.kind == "cell-type"][:1]
        substances = [item for item in substances if not any(item.span.overlaps(cell.span) for cell in findings.cells)]
    _genes(findings, taken, substances)
    _absences(findings, negations)
    findings.cells = _in_order(text, findings.cells)
    findings.controls = [Span(m.start(), m.end(), m[0]) for m in CONTROLS.finditer(text)]
    _more_treatments(findings, names, [*taken, *(item.scope for item in negations)])
    everything = without_outcomes(findings, _in_text_order(findings.treatments))
    cells = [*(cell.span for cell in findings.cells), *(where for where, _ in findings.lines)]
    findings.treatments = main_first(text, keep_members(text, everything), cells)
    named = [item.span for item in findings.treatments]
    findings.classes += [item.span for item in everything if item.span not in named]
    free = [*taken, *(t.span for t in findings.treatments), *(d.span for d in findings.diseases)]
    free += [item.span for item, _ in findings.absent]
    findings.context.conditions = [
        where
        for where in findings.context.conditions
        if not any(item.span.holds(where) for item in [*findings.cells, *findings.diseases])
    ]
    own = [cell.span for cell in findings.cells]
    absent = [item.scope for item in negations if item.absent and not any(item.scope.overlaps(where) for where in own)]
    findings.tissues = find_tissues(text, names, [*free, *absent], own)  # in the absence of serum
    if not findings.treatments and not findings.group:
        _met_cells(findings)
    return findings


def _settle(substances: list[Treatment], names: list[Name]) -> tuple[list[Treatment], list[Name]]:
    """Resolve overlaps of substances and exact names, keeping the longer one: macrophage colony-stimulating factor."""
    tissues = [name for name in names if name.kind == "tissue"]
    longer = [
        name
        for name in names
        if name.kind != "tissue"
        and not (name.kind == "disease" and (_inside(name, tissues) or _is_place(name, tissues)))
        and not (name.kind == "cell-type" and _is_illness(name, names))
    ]
    settled = longest_first(longer, [item.span for item in substances])
    kept = [item for item in substances if not any(item.span.overlaps(name.span) for name in settled)]
    return kept, settled


def _not_sick(text: str, substances: list[Treatment], names: list[Name]) -> list[Treatment]:
    """Drop pathogens that only describe patients: people with influenza, HIV patients."""
    sick = [name.span for name in names if name.kind == "disease"]
    return [item for item in substances if not (any(item.span.overlaps(w) for w in sick) and _is_had(text, item, sick))]


def _is_had(text: str, item: Treatment, sick: list[Span]) -> bool:
    """Whether the context says that people have a pathogen, or it is listed with another disease."""
    if _HAVING.search(text[: item.span.start]) or _PATIENTS.match(text[item.span.end :]):
        return True
    return any(not where.overlaps(item.span) and in_one_list(text, where, item.span) for where in sick)


def _is_protein(name: Name) -> bool:
    """Whether the single word of a cell type's name is also a ligand or compound (VIP), so that other cells take
    precedence.
    """
    from haystack.knowledge.ligands import named_protein
    from haystack.knowledge.resolve import lookup

    text = name.span.text
    return name.words == 1 and (lookup(text) is not None or named_protein(text) is not None)


def _is_place(name: Name, tissues: list[Name]) -> bool:
    """Whether a synonym of a disease is the name of the organ (pituitary for hypophysitis)."""
    return name.matches[0].method == "synonym" and any(name.span == tissue.span for tissue in tissues)


def _is_illness(name: Name, names: list[Name]) -> bool:
    """Whether a short form of cells is that of a disease here (microglia in PD); if no other cells are named, it is
    read again.
    """
    return name.span.text.isupper() and any(n.kind == "disease" and n.span == name.span for n in names)


def _inside(name: Name, others: list[Name]) -> bool:
    return any(other.span.holds(name.span) and other.span != name.span for other in others)


def _genes(findings: Findings, taken: list[Span], substances: list[Treatment]) -> None:
    """Genes outside all other names; a substance with a gene's name is the gene if knocked out or the like."""
    cells = [cell.span for cell in findings.cells]
    explained = [*taken, *cells, *(disease.span for disease in findings.diseases)]
    if not says_genetic(findings.text):
        explained += [item.span for item in substances]
    mentions = find_genes(findings.text, explained, cells)
    findings.genes = [
        mention
        for mention in mentions
        if not any(
            mention.span.overlaps(item.span) and _stays(findings, mention, item, mentions) for item in substances
        )
    ]
    acted = [mention.span for mention in findings.genes if mention.trigger is not None]
    kept = [item for item in substances if not any(item.span.overlaps(where) for where in acted)]
    findings.treatments = _in_text_order(kept + genetic_treatments(findings.genes))


def _between(one: Span, middle: Span, other: Span) -> bool:
    return one.end <= middle.start and middle.end <= other.start


def _stays(findings: Findings, mention: GeneMention, item: Treatment, mentions: list[GeneMention]) -> bool:
    """Whether a substance remains one, although it is also a gene."""
    more = (item.span.end - item.span.start) - (mention.span.end - mention.span.start)
    if mention.trigger is None or mention.read_out or more > 1 or mention.perturbation.type == "drug":
        return True
    if any(one.trigger == mention.trigger and _between(one.span, mention.trigger, mention.span) for one in mentions):
        return True  # CISH KO, IL-15: the word has its gene
    first, last = sorted((mention.trigger, mention.span), key=lambda where: where.start)
    between = Span(first.end, last.start, "")
    if any(
        between.holds(cells) for cells in (*(c.span for c in findings.cells), *(where for where, _ in findings.lines))
    ):
        return first is mention.trigger  # STAT3 KO T cells with IL-6
    symbol = mention.span.text in mention.perturbation.targets  # lacking CAMP: the gene, as it is written
    return soft(mention.trigger) and not (symbol and (item.perturbation.type != "cytokine" or more < -1))


def _absences(findings: Findings, negations: list[Negation]) -> None:
    """Remove what is negated; a missing gene remains, as its loss."""
    names = [item.span for item in [*findings.diseases, *findings.cells]]
    negations = [item for item in negations if not any(name.holds(item.trigger) for name in names)]  # absence of tibia
    kept: list[Treatment] = []
    behind: tuple[Treatment, Negation] | None = None
    for item in reversed(findings.treatments):
        governed = negated(item.span, findings.text, negations) or _replaced(findings, item)
        if governed is None and behind and share_negation(findings.text, item.span, behind[0].span):
            governed = behind[1]
        if governed is None or (item.perturbation.type == "genetic" and governed.absent):
            kept.insert(0, item)
        else:
            behind = (item, governed) if governed.trigger.start >= item.span.end else None
            findings.absent.insert(0, (item, governed))
    findings.treatments = kept
    findings.diseases = [d for d in findings.diseases if not _is_denied(findings, d, negations)]
    cells = [cell for cell in findings.cells if not negated(cell.span, findings.text, negations)]
    findings.cells = cells or findings.cells


def _replaced(findings: Findings, item: Treatment) -> Negation | None:
    """The other treatment that takes its place (with IL-2; what if IL-15 were given instead?)."""
    for other in findings.treatments:
        place = _INSTEAD.match(findings.text[other.span.end :])
        if place and other.span.start > item.span.end:
            where = Span(other.span.end + place.start("word"), other.span.end + place.end("word"), place["word"])
            return Negation(item.span, where, absent=False)
    return None


def _is_denied(findings: Findings, disease: Entity, negations: list[Negation]) -> bool:
    if negated(disease.span, findings.text, negations) is None:
        return False
    findings.notes.append(f"'{disease.span.text}' is said to be absent and was left out")
    return True


def _more_treatments(findings: Findings, names: list[Name], taken: list[Span]) -> None:
    """Treatments outside the tables: truncated siblings, large lists, bare genes, and words in the position of a
    treatment.
    """
    text, tokens = findings.text, findings.tokens
    taken = [*taken, *(c.span for c in findings.cells), *findings.controls, *(item.span for item, _ in findings.absent)]
    sick = [d.span for d in findings.diseases]
    places = [t.span for t in find_tissues(text, names, taken, [c.span for c in findings.cells])]
    held = [*taken, *sick, *places]
    findings.treatments += complete_list(text, tokens, findings.treatments, held)
    held += [item.span for item in findings.treatments]
    genes = [g.span for g in findings.genes]
    leftover = []
    for item in find_leftover(text, tokens, [*held, *genes]):
        governed = negated(item.span, text, findings.negations)
        if governed is None:
            leftover.append(item)
        else:  # arginine starvation
            findings.absent.append((item, governed))
    bare = bare_genes([mention for mention in findings.genes if not any(mention.span.overlaps(h) for h in held)])
    if findings.treatments or findings.group:
        known = [*findings.treatments, *leftover]
        extra = [item for item in [*leftover, *bare] if joined_to(text, item, known) or names_member(text, item, known)]
        held += [item.span for item in extra]
        extra += [item for item in find_slots(text, tokens, [*held, *genes], leftover) if responded_to(text, item.span)]
        findings.treatments += extra
        return
    findings.treatments = leftover or bare
    if not findings.treatments:
        findings.treatments = find_unknown(text, [*taken, *genes])
        findings.treatments = [
            t for t in findings.treatments if t.known or t.span not in sick or _infectious(t, findings)
        ]
        overlapped = [t.span for t in findings.treatments]
        findings.diseases = [d for d in findings.diseases if not any(d.span.overlaps(where) for where in overlapped)]
    if not findings.treatments:
        findings.treatments = find_slots(text, tokens, [*held, *genes])


def _infectious(item: Treatment, findings: Findings) -> bool:
    """An infection in the position of a treatment (the effect of influenza infection on ...)."""
    from haystack.ontology.graph import ancestors

    return any(INFECTIOUS in ancestors(d.best.id) for d in findings.diseases if d.span == item.span)


def _met_cells(findings: Findings) -> None:
    """Cells that others respond to (NK cells respond to K562 cells) are what is done to these, known or not."""
    from haystack.contracts.query import Perturbation

    named = [*(cell.span for cell in findings.cells), *(where for where, _ in findings.lines)]
    met = [where for where in named if _MET.search(findings.text[: where.start])]
    if not met or len(met) == len(named):
        return
    findings.cells = [cell for cell in findings.cells if cell.span not in met]
    findings.lines = [item for item in findings.lines if item[0] not in met]
    findings.treatments = [
        Treatment(where, Perturbation(query=where.text, name=f"co-culture with {where.text}"), known=False)
        for where in met
    ]


def _in_text_order(treatments: list[Treatment]) -> list[Treatment]:
    return sorted(treatments, key=lambda item: item.span.start)


def _in_order(text: str, cells: list[Entity]) -> list[Entity]:
    """Sort by appearance, with those used only for comparison or context last."""
    return sorted(cells, key=lambda c: (bool(_CONTEXT_BEFORE.search(text[: c.span.start])), c.span.start))
