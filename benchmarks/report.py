"""Seconds and bytes of a report of full size, each step in a fresh process, imports counted.

Run: python benchmarks/report.py [--genes 15000 --changed 5000 --cells 256 --prompts 3 --repeats 3]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BUILDER = Path(__file__).resolve().parent.parent / "tests" / "unit" / "report" / "report_run.py"

COLLECT = """
import importlib.util, sys
from pathlib import Path
from haystack.config import Settings, AtlasEntry
from haystack.report import collect_outputs
folder, run_id, last = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
collect_outputs(run_id=run_id, run_dir=folder, decision=folder / f"iter_{last}" / "decision.json", settings=Settings(),
    atlases={}, inputs={}, benchmarks=folder / "none",
    out_predictions=folder / f"{run_id}_predictions.h5ad", out_log=folder / f"{run_id}_log.json",
    out_de=folder / f"{run_id}_de.csv", out_enrichment=folder / f"{run_id}_enrichment.csv")
"""
RENDER = """
import sys
from pathlib import Path
from haystack.report import render_report
folder, run_id, last = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
render_report(run_id=run_id, predictions=folder / f"{run_id}_predictions.h5ad", log=folder / f"{run_id}_log.json",
    de=folder / f"{run_id}_de.csv", enrichment=folder / f"{run_id}_enrichment.csv",
    cells=folder / f"iter_{last}" / "cells.h5ad", out=folder / f"{run_id}_report.html")
"""
SUMMARY = """
import sys
from pathlib import Path
from haystack.report import summarize_runs
folder, run_id = Path(sys.argv[1]), sys.argv[2]
results = folder.parent.parent
for number in range(100):
    copy = results / "runs" / f"copy{number}" / f"copy{number}_log.json"
    if not copy.exists():
        copy.parent.mkdir()
        copy.write_text((folder / f"{run_id}_log.json").read_text().replace(f'"{run_id}"', f'"copy{number}"'))
summarize_runs([(f"copy{n}", "How would B cells respond to IFN-beta?") for n in range(100)], results,
    results / "summary.tsv", results / "summary.html")
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genes", type=int, default=15_000)
    parser.add_argument("--changed", type=int, default=5_000)
    parser.add_argument("--cells", type=int, default=256, help="cells per role and prompt")
    parser.add_argument("--prompts", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    spec = importlib.util.spec_from_file_location("report_run", BUILDER)
    assert spec
    assert spec.loader
    builder = importlib.util.module_from_spec(spec)
    sys.modules["report_run"] = builder
    spec.loader.exec_module(builder)
    with tempfile.TemporaryDirectory() as root:
        folder, options = builder.write_run(
            Path(root), n_genes=args.genes, n_de=args.changed, n_cells=args.cells, n_prompts=args.prompts, n_terms=40
        )
        last = str(len(options.scores))
        steps = {"collect_outputs": COLLECT, "render_report": RENDER, "summarize_runs, 100 runs": SUMMARY}
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        cpu: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(args.repeats):
            for name, code in steps.items():
                start, before = time.perf_counter(), _cpu()
                subprocess.run([sys.executable, "-c", code, str(folder), options.run_id, last], check=True)
                seconds[name].append(time.perf_counter() - start)
                cpu[name].append(_cpu() - before)
        report = (folder / f"{options.run_id}_report.html").stat().st_size
        summary = (folder.parent.parent / "summary.html").stat().st_size
    if args.json:
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "report_bytes": report, "summary_bytes": summary}))
        return
    print(f"{args.genes:,} genes, {args.changed:,} changed, {args.cells} cells per role, {args.prompts} prompts")
    for name, values in seconds.items():
        spread, used = f"({min(values):.2f} to {max(values):.2f})", statistics.median(cpu[name])
        print(f"{name:26} median {statistics.median(values):6.2f} s {spread:18} CPU {used:6.2f} s")
    print(f"{'report':26} {report / 1e6:6.2f} MB (asked: under 6 MB, under 3 s)")
    print(f"{'summary of 100 runs':26} {summary / 1e6:6.2f} MB")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
