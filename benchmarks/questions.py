"""How well questions are understood: tracked questions, a file of questions with answers, and the whole vocabulary.

Usage
-----
python benchmarks/questions.py                         tracked questions, and the time of a cold `haystack parse`
python benchmarks/questions.py --file FILE             JSON lines (query, kind, cl, perts, ...): right in every field,
                                                       wrong without a doubt, refused although answerable
python benchmarks/questions.py --file FILE --proposals PROPOSALS
                                                       the same with what a language model proposed, recorded as JSON
                                                       (question -> fields of `haystack.query.llm.Proposal`)
python benchmarks/questions.py --vocabulary [N]        every name of cells and perturbations, N sampled tissues and
                                                       diseases (default 2,000), singular and plural, and negated
python benchmarks/questions.py --speed N               processor seconds of N different questions
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from haystack.contracts.query import Perturbation, StructuredQuery
from haystack.errors import HaystackError, QueryParsingError
from haystack.knowledge import perturbations
from haystack.knowledge.genetic import symbols
from haystack.knowledge.names import key
from haystack.ontology.index import HEALTHY, ontology
from haystack.query import parse_question
from haystack.query.doubts import doubts

QUESTIONS = Path(__file__).parents[1] / "tests" / "data" / "questions.jsonl"
CELL_QUESTIONS = ("How would {} respond to IL-2?", "Effect of dexamethasone on {}")
PERTURBATION_QUESTIONS = ("How would hepatocytes respond to {}?", "Effect of {} on hepatocytes")
TISSUE_QUESTIONS = ("How would macrophages from the {} respond to IL-2?", "Impute macrophages of the {} in donor D7")
DISEASE_QUESTIONS = (
    "How would macrophages of patients with {} respond to IL-2?",
    "What would macrophages look like in {}?",
)
NEGATED = (
    "How would hepatocytes not treated with {} look?",
    "hepatocytes without {}",
    "Generate hepatocytes in the absence of {}",
    "hepatocytes never exposed to {} under hypoxia",
    "hepatocytes given mebendazole but not {}",
)
GENE_QUESTIONS = (
    ("{} knockout in T cells", -1),
    ("sgRNA against {} in T cells", -1),
    ("overexpression of {} in hepatocytes", 1),
    ("How would hepatocytes respond to {} knockdown?", -1),
    ("Effect of CRISPRi of {} on monocytes", -1),
    ("T cells transduced with {}", 1),
    ("Silence {} in fibroblasts", -1),
    ("hepatocytes lacking {}", -1),
    ("What does loss of {} do to B cells?", -1),
)


def differences(expected: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Of a tracked question: field -> (expected, found), for the fields that differ."""
    try:
        query = parse_question(expected["question"])
    except QueryParsingError as error:
        return {} if "error" in expected else {"error": (None, str(error))}
    if "error" in expected:
        return {"error": (expected["error"], f"{query.cell_type_query} -> {query.cell_type_name}")}
    wrong: dict[str, tuple[Any, Any]] = {}
    for name, value in expected.items():
        if name in {"question", "note"}:
            continue
        found: Any
        if name == "cell_type_cl_id":
            if query.cell_type_cl_id not in value:
                wrong[name] = (value, f"{query.cell_type_cl_id} {query.cell_type_name}")
            continue
        if name == "perturbations":
            found = [item.name for item in query.perturbations]
        elif name == "ambiguous":
            found = bool(query.ambiguities)
        elif name == "task_type":
            found = query.task_type.value
        elif name == "control_strategy":
            found = query.control_strategy.value if query.control_strategy else None
        else:
            found = getattr(query, name)
        if found != value:
            wrong[name] = (value, found)
    return wrong


Parse = Callable[[str], StructuredQuery]


def with_proposals(path: Path) -> Parse:
    """A parser that takes a recorded language model's words over, as the `llm` option does."""
    from haystack.query.llm import Proposal, dispose
    from haystack.query.parse import finish, read

    recorded = json.loads(path.read_text(encoding="utf-8"))

    def parse(question: str) -> StructuredQuery:
        found = read(question)
        dispose(found, Proposal.model_validate(recorded.get(question, {})))
        return finish(found)

    return parse


def judge(row: dict[str, Any], parse: Parse = parse_question) -> tuple[str, dict[str, Any]]:
    """Of a question with answers: (right, doubted, wrong or refused), and what differs.

    A field that the row leaves null is not asked for, except that no disease, donor, dose or time may be invented.
    """
    try:
        query = parse(row["query"])
    except HaystackError as error:
        return ("right" if row["kind"] == "refuse_or_doubt" else "refused"), {"error": str(error)}
    doubted = bool(doubts(query))
    if row["kind"] == "refuse_or_doubt":
        return ("right" if doubted else "wrong"), {"read as": (query.cell_type_name, query.perturbation_resolved)}
    wrong = _wrong_fields(row, query)
    if not wrong:
        return "right", {}
    return ("doubted" if doubted else "wrong"), wrong


def _wrong_fields(row: dict[str, Any], query: StructuredQuery) -> dict[str, Any]:
    wrong: dict[str, Any] = {}
    kind = query.task_type.value
    read = (
        "perturbation" if query.task_type.is_perturbational else kind if kind.startswith("cross") else "observational"
    )
    if read != row["kind"]:
        wrong["kind"] = kind
    if query.cell_type_cl_id not in row["cl"]:
        wrong["cl"] = (query.cell_type_cl_id, query.cell_type_name)
    found = query.asked.perturbations
    if row["perts"] or row["kind"] != "cross_dataset_generation":
        left = list(found)
        missing = [names for names in row["perts"] if not _take(left, names)]
        if missing or left:
            wrong["perts"] = [item.name for item in found]
    if row["ptype"] and found and found[0].type not in row["ptype"]:
        wrong["ptype"] = found[0].type
    if row["direction"] is not None and any(item.direction != row["direction"] for item in found):
        wrong["direction"] = [item.direction for item in found]
    for name, value in (
        ("tissue", query.target_tissue),
        ("disease", query.target_disease_state),
        ("donor", query.target_donor_id),
        ("dose", query.perturbation_dose),
        ("time", query.perturbation_time),
    ):
        right = row[name] if isinstance(row[name], list) else [row[name]]
        if value not in right and not (row[name] is None and name == "tissue"):
            wrong[name] = value
    return wrong


def _take(left: list[Perturbation], names: list[str]) -> bool:
    """Whether one of the perturbations has one of the names; it is taken out then."""
    wanted = {key(name) for name in names}
    for item in left:
        own = [item.name, item.query, *item.synonyms, *item.external_ids.get("HGNC", "").split(";")]
        if wanted & {key(name) for name in own}:
            left.remove(item)
            return True
    return False


def run_file(path: Path, parse: Parse) -> None:
    """Judge each row and print what is not right, then the shares for all rows and by half (odd, even numbers)."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    counts: dict[str, Counter[str]] = {"all": Counter(), "odd": Counter(), "even": Counter()}
    by_doubts: dict[int, Counter[str]] = {}
    for number, row in enumerate(rows):
        verdict, wrong = judge(row, parse)
        for part in ("all", "odd" if row.get("n", number) % 2 else "even"):
            counts[part][verdict] += 1
        if row["kind"] != "refuse_or_doubt" and verdict != "refused":
            by_doubts.setdefault(min(3, len(doubts(parse(row["query"])))), Counter())[verdict] += 1
        if wrong and verdict != "right":
            print(f"{verdict}: {row['query']}\n    {wrong}")
    print(f"\n{'part':<8}{'asked':>8}{'right':>8}{'wrong without doubt':>22}{'refused':>10}")
    for part, count in counts.items():
        total = max(1, sum(count.values()))
        shares = [count[verdict] / total for verdict in ("right", "wrong", "refused")]
        print(f"{part:<8}{total:>8}{shares[0]:>8.1%}{shares[1]:>22.1%}{shares[2]:>10.1%}")
    for number, count in sorted(by_doubts.items()):
        print(f"{number}{'+' if number == 3 else ''} doubts: {count['right']} of {sum(count.values())} right")


def cell_names() -> Iterator[tuple[str, str]]:
    """(name, id) of every label and synonym of a type of human cells, without `cell` itself."""
    cl = ontology("CL")
    for term in cl.terms.values():
        if term.id != "CL:0000000" and not term.obsolete and "Mmus" not in term.label:
            yield from ((name, term.id) for name in (term.label, *term.synonyms))


def term_names(name: str, count: int, seed: int) -> list[tuple[str, str]]:
    """(label, id) of so many terms of UBERON or MONDO, drawn at random."""
    terms = sorted(((t.label, t.id) for t in ontology(name).terms.values() if not t.obsolete), key=lambda item: item[1])
    return random.Random(seed).sample(terms, min(count, len(terms)))


def plural(name: str) -> str:
    """The name with its last word in the plural, made plainly."""
    return (
        name
        if name.endswith("s")
        else f"{name[:-1]}ies"
        if name[-1:] == "y" and name[-2:-1] not in "aeou"
        else f"{name}s"
    )


def sweep(
    names: list[tuple[str, str]], questions: tuple[str, ...], read: Callable[[StructuredQuery], list[str]], field: str
) -> tuple[int, list[tuple[str, str]]]:
    """(questions asked, those that are wrong): the right id comes first, or is an alternative of a stated ambiguity."""
    asked, wrong = 0, []
    for (name, right), question in itertools.product(names, questions):
        for form in dict.fromkeys((name, plural(name))):
            asked += 1
            try:
                query = parse_question(question.format(form))
            except HaystackError as error:
                wrong.append((form, f"{right} refused: {str(error)[:60]}"))
                continue
            alternatives = " ".join(a for item in query.ambiguities if item.field == field for a in item.alternatives)
            if right not in read(query) and f"{right} " not in f"{alternatives} ":
                wrong.append((question.format(form), f"{right} -> {read(query)}"))
    return asked, wrong


def negated_treatments(names: list[str]) -> tuple[int, list[tuple[str, str]]]:
    """(questions asked, those in which a negated name is a treatment all the same)."""
    asked, wrong = 0, []
    for name, question in itertools.product(names, NEGATED):
        if name in question:
            continue
        asked += 1
        try:
            query = parse_question(question.format(name))
        except HaystackError:
            continue
        if name in [item.name for item in query.asked.perturbations]:
            wrong.append((question.format(name), name))
    return asked, wrong


def acted_on_genes(symbols: list[str]) -> tuple[int, list[tuple[str, str]]]:
    """(questions asked, those in which something else than the gene is acted on, or in the other direction).

    A ligand that is lacking may be its blockade, which is said.
    """
    asked, wrong = 0, []
    for symbol, (question, direction) in itertools.product(symbols, GENE_QUESTIONS):
        asked += 1
        try:
            query = parse_question(question.format(symbol))
        except HaystackError as error:
            wrong.append((question.format(symbol), str(error)[:60]))
            continue
        read = [(p.targets, p.direction) for p in query.asked.perturbations if p.type == "genetic"]
        absent = [item.external_ids.get("HGNC") for item in query.asked.absent]
        if read != [([symbol], direction)] and absent != [symbol]:
            wrong.append((question.format(symbol), f"{read}"))
    return asked, wrong


def run_vocabulary(count: int, seed: int) -> None:
    """Print the share right, and what is wrong, for each kind of name."""
    pert = [(p.name, p.name) for p in perturbations()]
    parts: dict[str, tuple[int, list[tuple[str, str]]]] = {
        "cells": sweep(list(cell_names()), CELL_QUESTIONS, lambda q: [str(q.cell_type_cl_id)], "cell_type_cl_id"),
        "perturbations": sweep(
            pert, PERTURBATION_QUESTIONS, lambda q: [p.name for p in q.perturbations], "perturbation"
        ),
        "tissues": sweep(
            term_names("UBERON", count // 2, seed), TISSUE_QUESTIONS, lambda q: [str(q.target_tissue)], "target_tissue"
        ),
        "diseases": sweep(
            [item for item in term_names("MONDO", count // 2, seed) if item[1] != HEALTHY],
            DISEASE_QUESTIONS,
            lambda q: [str(q.target_disease_state)],
            "target_disease_state",
        ),
        "negated": negated_treatments([name for name, _ in pert]),
        "genes": acted_on_genes(random.Random(seed).sample(sorted(set(symbols().values())), min(800, count))),
    }
    for name, (_, wrong) in parts.items():
        for question, answer in wrong[:40]:
            print(f"{name}: {question} | {answer}")
    for name, (asked, wrong) in parts.items():
        print(f"{name:<16}{asked:>8} asked{1 - len(wrong) / asked:>9.2%} right")


def run_speed(count: int) -> None:
    """Processor seconds of so many different questions."""
    cells = [name for name, _ in cell_names()]
    names = [item.name for item in perturbations()]
    random.Random(0).shuffle(cells)
    asked = [f"How would {c} respond to {p}?" for c, p in zip(cells * 9, itertools.cycle(names), strict=False)][:count]
    start = time.process_time()
    for question in asked:
        try:
            parse_question(question)
        except HaystackError:
            continue
    print(f"{len(asked)} questions: {time.process_time() - start:.1f} processor seconds")


def run_tracked(path: Path) -> None:
    """Compare field by field; print every difference, a table, and the time of a cold start."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    whole = 0
    for row in rows:
        wrong = differences(row)
        whole += not wrong
        for name in row.keys() - {"question", "note"}:
            asked[name] += 1
            right[name] += name not in wrong and "error" not in wrong.keys() - row.keys()
        if wrong:
            print(row["question"][:100])
            for name, (expected, found) in wrong.items():
                print(f"    {name}: expected {expected}, found {found}")
    print(f"\n{'field':<24}{'right':>8}{'asked':>8}{'share':>8}")
    for name in sorted(asked):
        print(f"{name:<24}{right[name]:>8}{asked[name]:>8}{right[name] / asked[name]:>8.1%}")
    print(f"{'whole question':<24}{whole:>8}{len(rows):>8}{whole / len(rows):>8.1%}")
    print(f"\n{'cold haystack parse':<24}{'wall s':>8}{'cpu s':>8}")
    for run in range(1, 4):
        wall, cpu = cold(str(rows[0]["question"]))
        print(f"{f'run {run}':<24}{wall:>8.2f}{cpu:>8.2f}")


def cold(question: str) -> tuple[float, float]:
    """Wall and processor seconds of one `haystack parse` from the shell."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "haystack.cli", "parse", question, "--json"], check=True, stdout=subprocess.DEVNULL
    )
    wall, after = time.perf_counter() - start, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--proposals", type=Path)
    parser.add_argument("--vocabulary", type=int, nargs="?", const=2000, metavar="N")
    parser.add_argument("--speed", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.file:
        run_file(args.file, with_proposals(args.proposals) if args.proposals else parse_question)
    elif args.vocabulary:
        run_vocabulary(args.vocabulary, args.seed)
    elif args.speed:
        run_speed(args.speed)
    else:
        run_tracked(QUESTIONS)
