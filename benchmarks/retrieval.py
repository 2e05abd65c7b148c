"""Time retrieval over 10 million cells, and the same questions against PostgreSQL with a per-cell table.

    python benchmarks/retrieval.py --work /tmp/bench [--cells 10000000] [--postgres "host=/tmp port=5433 dbname=bench"]

The cells are synthetic and Parse-shaped: 12 donors x 91 conditions (90 cytokines and PBS) x 18 cell types. Prints a
table in Markdown. PostgreSQL gets the design that a web service would have: one row per cell, B-tree indexes on
perturbation, cell type, donor and on the three together, `ANALYZE` done. It answers only the plain part of the question
(which sets hold the asked or a related perturbation, in which types, and their controls); ranking would come on top.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

QUESTIONS = {
    "perturbation, same and other types": "How would B cells respond to IFN-beta?",
    "perturbation, another lineage": "How would CD8 T cells respond to TNF-alpha?",
    "imputation for a donor": "Impute the NK cells of donor D07",
}
TYPES = [
    "CL:0000236", "CL:0000788", "CL:0000787", "CL:0000786", "CL:0000623", "CL:0000938", "CL:0000625", "CL:0000900",
    "CL:0000909", "CL:0000624", "CL:0000895", "CL:0000897", "CL:0000815", "CL:0000798", "CL:0000860", "CL:0000875",
    "CL:0000990", "CL:0000784",
]  # fmt: skip
DONORS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for the synthetic index; kept for the next run"
    )
    parser.add_argument("--cells", type=int, default=10_000_000)
    parser.add_argument("--postgres", help="connection string of an empty database; left out: not compared")
    args = parser.parse_args()
    index = args.work / f"index_{args.cells}"
    cells = index / "parse_like" / "cells.parquet"
    if not cells.exists():
        make_cells(cells, args.cells)
    sets = index / "cell_sets.parquet"
    if not sets.exists():
        from haystack.atlas import index_cell_sets

        index_cell_sets({"parse_like": cells}, sets)
    rows = measure_retrieval(index, sets)
    rows += measure_prompting(cells, sets)
    rows += measure_postgres(args.postgres, cells, rows) if args.postgres else []
    print("| what | seconds | note |\n|---|---|---|")
    for what, seconds, note in rows:
        print(f"| {what} | {seconds:.3f} | {note} |")


def make_cells(path: Path, n: int) -> None:
    """A CELLS table in random order of cells within donors."""
    import duckdb

    from haystack import ontology
    from haystack.knowledge import perturbations

    cytokines = [p.name for p in perturbations() if p.type == "cytokine"][:90]
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute("SELECT setseed(0.5); SET threads TO 1")
        connection.execute("CREATE TABLE types (i INT, id TEXT, name TEXT)")
        connection.executemany(
            "INSERT INTO types VALUES (?, ?, ?)", [(i, t, ontology.label(t)) for i, t in enumerate(TYPES)]
        )
        connection.execute("CREATE TABLE done (i INT, name TEXT)")
        connection.executemany(
            "INSERT INTO done VALUES (?, ?)", [(i, name) for i, name in enumerate([None, *cytokines])]
        )
        connection.execute(
            f"""COPY (
              SELECT c.row AS row, t.name AS cell_type_original, coalesce(d.name, 'PBS') AS perturbation_original,
                t.id AS cell_type_cl_id, t.name AS cell_type_name, d.name AS perturbation_name,
                d.name IS NULL AS is_control,
                CASE WHEN d.name IS NULL THEN NULL ELSE 'cytokine' END AS perturbation_type,
                'UBERON:0000178' AS tissue_uberon_id, 'blood' AS tissue_name,
                'parse_like:D' || lpad((1 + c.donor)::TEXT, 2, '0') AS donor_id,
                'PATO:0000461' AS disease_mondo_id, 'normal' AS disease_name, NULL::TEXT AS sample_condition,
                (20 + 4 * c.donor)::TEXT AS age_category,
                CASE WHEN c.donor % 2 = 0 THEN 'female' ELSE 'male' END AS sex,
                c.genes AS n_genes, c.genes * 3.1 AS total_counts
              FROM (SELECT range AS row, (range * {DONORS} // {n})::INT AS donor, (random() * 91)::INT % 91 AS d,
                    (random() * 18)::INT % 18 AS t, (800 + random() * 3000)::BIGINT AS genes FROM range({n})) c
              JOIN types t ON t.i = c.t JOIN done d ON d.i = c.d ORDER BY c.row
            ) TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 262144)"""  # our own numbers and path
        )


def clock(run: Callable[[], object], repeats: int = 5) -> float:
    """Median seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def measure_retrieval(index: Path, sets: Path) -> list[tuple[str, float, str]]:
    from haystack.config import Settings
    from haystack.contracts import CELL_SETS, read_table
    from haystack.query import parse_question
    from haystack.retrieval import find_candidates

    frame = read_table(sets, CELL_SETS)
    rows = []
    for name, words in QUESTIONS.items():
        query = parse_question(words)
        found = find_candidates(query, frame, Settings())
        seconds = clock(lambda query=query: find_candidates(query, frame, Settings()))
        note = f"{len(frame):,} sets, {found.n_untried:,} fit: {json.dumps(found.counts)}"
        rows.append((f"all strategies, warm: {name}", seconds, note))
    config = index / "config.yaml"
    config.write_text("{}\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "haystack.cli",
        "retrieve",
        "--config",
        str(config),
        "--index",
        str(index),
        "--json",
    ]
    for name, words in QUESTIONS.items():
        seconds = clock(lambda words=words: subprocess.run([*command, words], check=True, capture_output=True), 3)
        rows.append((f"haystack retrieve --json from the shell: {name}", seconds, "median of 3"))
    return rows


def measure_prompting(cells: Path, sets: Path) -> list[tuple[str, float, str]]:
    from haystack.config import Settings
    from haystack.contracts import CELL_SETS, read_table
    from haystack.prompting import choose_prompts
    from haystack.prompting.rows import RowBook
    from haystack.query import parse_question
    from haystack.retrieval import find_candidates

    settings, frame = Settings(), read_table(sets, CELL_SETS)
    query = parse_question(QUESTIONS["perturbation, same and other types"])
    found = find_candidates(query, frame, settings, run_id="bench")

    def choose() -> None:
        choose_prompts(query, found, frame, RowBook(frame, {"parse_like": cells}), settings)

    return [
        ("choosing 3 prompts, their controls and the query cells", clock(choose, 3), "rows of 10 M cells looked up")
    ]


def measure_postgres(dsn: str, cells: Path, ours: list[tuple[str, float, str]]) -> list[tuple[str, float, str]]:
    """The plain part of each question in SQL over one row per cell."""
    import psycopg

    warm = {what.split(": ")[-1]: seconds for what, seconds, _ in ours if what.startswith("all strategies, warm")}
    rows = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        exists = connection.execute("SELECT to_regclass('cells')").fetchone()
        if not exists or exists[0] is None:
            start = time.perf_counter()
            load_postgres(connection, cells)
            rows.append(("PostgreSQL: load, index and analyse", time.perf_counter() - start, "once"))
        size = connection.execute("SELECT pg_size_pretty(pg_total_relation_size('cells'))").fetchone()
        note = f"{size[0] if size else '?'} with indexes"
        for name, (sql, values) in postgres_questions().items():
            seconds = clock(lambda sql=sql, values=values: connection.execute(sql, values).fetchall(), 3)
            rows.append((f"PostgreSQL: {name}", seconds, f"{seconds / warm[name]:.0f} x ours; {note}"))
    return rows


def load_postgres(connection: object, cells: Path) -> None:
    import duckdb

    columns = (
        "cell_type_cl_id, cell_type_name, perturbation_name, is_control, tissue_uberon_id, donor_id, disease_mondo_id"
    )
    connection.execute("DROP TABLE IF EXISTS cells")  # type: ignore[attr-defined]
    connection.execute(  # type: ignore[attr-defined]
        "CREATE UNLOGGED TABLE cells (row BIGINT PRIMARY KEY, cell_type_cl_id TEXT, cell_type_name TEXT, "
        "perturbation_name TEXT, is_control BOOL, tissue_uberon_id TEXT, donor_id TEXT, disease_mondo_id TEXT, "
        "n_genes INT)"
    )
    csv = cells.with_suffix(".csv")
    with duckdb.connect() as source:
        source.execute(f"COPY (SELECT row, {columns}, n_genes FROM '{cells}') TO '{csv}' (FORMAT csv, HEADER false)")
    with (
        connection.cursor() as cursor,  # type: ignore[attr-defined]
        cursor.copy("COPY cells FROM STDIN (FORMAT csv)") as copy,
        csv.open("rb") as handle,
    ):
        while block := handle.read(1 << 20):
            copy.write(block)
    csv.unlink()
    for name in ("perturbation_name", "cell_type_cl_id", "donor_id", "perturbation_name, cell_type_cl_id, donor_id"):
        connection.execute(f"CREATE INDEX ON cells ({name})")  # type: ignore[attr-defined]
    connection.execute("VACUUM ANALYZE cells")  # type: ignore[attr-defined]


def postgres_questions() -> dict[str, tuple[str, list[object]]]:
    """Per question: sets of the asked and related perturbations (or of the donor), each with its number of controls."""
    from haystack.knowledge import perturbations, resolve_perturbation, shared_mechanism

    sql = """
      WITH found AS (
        SELECT perturbation_name, cell_type_cl_id, donor_id, count(*) AS n, avg(n_genes) AS genes
        FROM cells WHERE perturbation_name = ANY(%s) GROUP BY 1, 2, 3 HAVING count(*) >= 20),
      control AS (
        SELECT cell_type_cl_id, donor_id, count(*) AS n_control FROM cells WHERE is_control GROUP BY 1, 2)
      SELECT * FROM found LEFT JOIN control USING (cell_type_cl_id, donor_id)"""
    out: dict[str, tuple[str, list[object]]] = {}
    for name, asked in (
        ("perturbation, same and other types", "IFN-beta"),
        ("perturbation, another lineage", "TNF-alpha"),
    ):
        main_one = resolve_perturbation(asked)
        assert main_one is not None
        related = [p.name for p in perturbations() if p.type == "cytokine" and shared_mechanism(main_one, p)[0] >= 0.05]
        out[name] = (sql, [sorted({asked, *related})])
    out["imputation for a donor"] = (
        "SELECT cell_type_cl_id, donor_id, disease_mondo_id, tissue_uberon_id, count(*), avg(n_genes) FROM cells "
        "WHERE is_control GROUP BY 1, 2, 3, 4 HAVING count(*) >= 20",
        [],
    )
    return out


if __name__ == "__main__":
    main()
