"""Resolve author labels of cell types and compare with gold Cell Ontology terms; print a table and the wrong ones.

Usage: python benchmarks/labels.py [labels.csv] [--part development|report|all] [--match exact|narrow|both]
                                   [--distinct] [--quiet] [--speed]

The table has columns Annotation_Label, CL_ID, CL_Label, CL_Match, Organ_Level, as in ../shared/data/labels_dev.csv, or
label, id (several ids with | between are all right), and perhaps tissue (UBERON id). Rows with skos:exactMatch are
gold; of skos:narrowMatch the term is what the label is a kind of. Rules and probabilities were chosen on the organs of
DEVELOPMENT.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from haystack.ontology import Match, label, parents, resolve
from haystack.ontology.celllabels import THRESHOLD
from haystack.ontology.index import ontology
from haystack.ontology.normalise import key

LABELS = Path(__file__).parents[2] / "shared" / "data" / "labels_dev.csv"
SURE = 0.85
BINS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.01)
DEVELOPMENT = {
    *("blood_L1", "bone marrow_L1", "Large_Intestine", "kidney_L1", "lung_L1", "heart_L1", "skeletal muscle_L1"),
    *("pancreas_L1", "Adult_Human_Skin_pkl", "Human_AdultAged_Hippocampus_pkl", "liver_L1"),
}
MATCHES = {"exact": {"skos:exactMatch"}, "narrow": {"skos:narrowMatch"}}
MATCHES["both"] = MATCHES["exact"] | MATCHES["narrow"]


@dataclass(frozen=True)
class Row:
    """A label, the terms that are right, and where its cells are from."""

    text: str
    gold: tuple[str, ...]
    tissue: str | None = None


def read(path: Path, part: str, match: str) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as handle:
        first = handle.readline()
        handle.seek(0)
        rows = list(csv.DictReader(handle, delimiter="\t" if "\t" in first else ","))
    if "CL_Match" not in rows[0]:
        return [Row(row["label"], tuple(row["id"].split("|")), row.get("tissue") or None) for row in rows]
    rows = [row for row in rows if row["CL_Match"] in MATCHES[match] and row["CL_ID"].startswith("CL:")]
    if part != "all":
        rows = [row for row in rows if (row["Organ_Level"] in DEVELOPMENT) == (part == "development")]
    return [Row(row["Annotation_Label"], (row["CL_ID"],), row["Organ_ID"] or None) for row in rows]


def one_hop(claimed: str, gold: str) -> bool:
    return claimed == gold or gold in parents(claimed) or claimed in parents(gold)


def by_string(text: str) -> str | None:
    """The baseline: the label as it is, against labels and synonyms."""
    found = [t for t in ontology("CL").terms.values() if text in (t.label, *t.synonyms) and not t.obsolete]
    return found[0].id if found else None


def by_ngrams(texts: list[str]) -> list[str]:
    """The other baseline: character n-grams (TF-IDF, cosine) over normalised names."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    names = sorted(ontology("CL").by_key)
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4))
    known = vectorizer.fit_transform(names)
    nearest = (vectorizer.transform([key(text) for text in texts]) @ known.T).argmax(axis=1)
    return [ontology("CL").by_key[names[int(at)]][0][0] for at in nearest.ravel().tolist()[0]]


def speed(n: int = 10_000) -> float:
    """Processor seconds for `n` different labels, made of the ontology's own names."""
    names = sorted(ontology("CL").by_key)
    texts = [f"{name}s" for name in names] + [
        f"{' '.join(reversed(name.split()))} CD{n}+" for n, name in enumerate(names)
    ]
    start = time.process_time()
    for text in texts[:n]:
        resolve("cell-type", text)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels", nargs="?", type=Path, default=LABELS)
    parser.add_argument("--part", choices=("development", "report", "all"), default="all", help="of the organs")
    parser.add_argument("--match", choices=tuple(MATCHES), default="exact", help="rows of the crosswalk")
    parser.add_argument("--distinct", action="store_true", help="count a label with the same answer once")
    parser.add_argument("--tissue", action="store_true", help="tell the resolver the tissue, as harmonising does")
    parser.add_argument("--quiet", action="store_true", help="do not list the wrong ones")
    parser.add_argument("--speed", action="store_true", help="time 10,000 labels too")
    args = parser.parse_args()
    rows = read(args.labels, args.part, args.match)
    rows = list(dict.fromkeys(rows)) if args.distinct else rows
    start = time.perf_counter()
    claims: list[list[Match]] = [resolve("cell-type", row.text, 5, row.tissue if args.tissue else None) for row in rows]
    seconds = time.perf_counter() - start
    first = [found[0].id if found else None for found in claims]
    right = [claim in row.gold for claim, row in zip(first, rows, strict=True)]
    top5 = [any(match.id in row.gold for match in found) for found, row in zip(claims, rows, strict=True)]
    near = [any(one_hop(c, gold) for gold in row.gold) if c else False for c, row in zip(first, rows, strict=True)]
    covered = [claim is not None for claim in first]
    n = len(rows)
    distinct = len({row.text for row in rows})
    print(f"{n} gold labels ({distinct} distinct), {seconds:.2f} s, Cell Ontology {ontology('CL').version}")
    print(f"{'exact string match (baseline)':<34}{sum(by_string(row.text) in row.gold for row in rows) / n:>8.1%}")
    grams = by_ngrams([row.text for row in rows])
    by_grams = sum(gram in row.gold for gram, row in zip(grams, rows, strict=True))
    print(f"{'character n-grams (baseline)':<34}{by_grams / n:>8.1%}")
    print(f"{'top-1':<34}{sum(right) / n:>8.1%}")
    print(f"{'top-5':<34}{sum(top5) / n:>8.1%}")
    print(f"{'within one is_a step':<34}{sum(near) / n:>8.1%}")
    print(f"{f'claimed (score >= {THRESHOLD})':<34}{sum(covered) / n:>8.1%}")
    print(f"{'right among claimed':<34}{sum(right) / max(1, sum(covered)):>8.1%}")
    sure = [hit for hit, found in zip(right, claims, strict=True) if found and found[0].score >= SURE]
    print(f"{f'right among claims >= {SURE}':<34}{sum(sure) / max(1, len(sure)):>8.1%} of {len(sure)}")
    print(f"\n{'score':<12}{'labels':>8}{'right':>8}{'one step':>10}")
    for low, high in pairwise(BINS):
        at = [i for i, found in enumerate(claims) if found and low <= found[0].score < high]
        if at:
            shown = f"{low:.2f}-{min(high, 1):.2f}"
            hit, step = (sum(flags[i] for i in at) / len(at) for flags in (right, near))
            print(f"{shown:<12}{len(at):>8}{hit:>8.0%}{step:>10.0%}")
    if not args.quiet:
        wrong = Counter(
            (row.text, row.gold[0], claims[i][0] if claims[i] else None) for i, row in enumerate(rows) if not right[i]
        )
        print("\nwrong (times, label, gold -> claim)")
        for (text, gold, claim), times in wrong.most_common():
            claimed = f"{claim.id} {claim.name} {claim.score:.2f}" if claim else "nothing"
            print(f"{times:>3}  {text}  {gold} {label(gold)} -> {claimed}")
    if args.speed:
        print(f"\n10,000 different labels: {speed():.1f} s of one core")


if __name__ == "__main__":
    main()
