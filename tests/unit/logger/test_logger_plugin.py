"""The logger plugin, fed with the records that Snakemake sends."""

import io
import json
import logging
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from rich.console import Console
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

from snakemake_logger_plugin_haystack import LogHandler
from snakemake_logger_plugin_haystack.board import Board, board
from snakemake_logger_plugin_haystack.display import open_display
from snakemake_logger_plugin_haystack.events import RunState, Tracker

KEYS = ["time", "event", "run_id", "stage", "iteration", "score", "threshold", "reason", "message"]


def settings(**changes) -> SimpleNamespace:
    plain = {
        "quiet": None,
        "show_failed_logs": True,
        "nocolor": True,
        "printshellcmds": False,
        "debug_dag": False,
        "verbose": False,
        "dryrun": False,
        "stdout": False,
    }
    return SimpleNamespace(**(plain | changes))


def record(event: LogEvent | None = None, text: str | None = None, level: int = logging.INFO, **fields):
    made = logging.LogRecord("snakemake.logging", level, __file__, 1, text or "None", None, None)
    made.__dict__.update(fields)
    if event is not None:
        made.event = event
    return made


def started(job: int, rule: str, run_id: str | None = None, iteration: int | None = None, output=(), inputs=()):
    wildcards = {} if run_id is None else {"run_id": run_id}
    if iteration:
        wildcards["iteration"] = str(iteration)
    message = f"Run {run_id}, iteration {iteration}: doing {rule}" if run_id else f"Doing {rule}"
    fields = {
        "jobid": job,
        "rule_name": rule,
        "rule_msg": message,
        "wildcards": wildcards,
        "input": list(inputs),
        "output": list(output),
        "log": [f"logs/{rule}.log"],
    }
    return record(LogEvent.JOB_INFO, **fields)


def finished(job: int):
    return record(LogEvent.JOB_FINISHED, text=f"Finished jobid: {job}", job_id=job)


def failed(job: int, rule: str, log: str):
    fields = {"input": [], "output": [], "conda_env": None, "container_img": None, "shellcmd": None, "aux": {}}
    return record(
        LogEvent.JOB_ERROR,
        text=f"Error in rule {rule}, jobid: {job}",
        level=logging.ERROR,
        jobid=job,
        rule_name=rule,
        rule_msg=None,
        log=[log],
        indent=False,
        **fields,
    )


class Session:
    """A handler in a folder of its own, and what it wrote."""

    def __init__(self, capsys, **changes) -> None:
        self.capsys = capsys
        self.handler = LogHandler(settings(**changes), None)

    def send(self, *records) -> None:
        for item in records:
            self.handler.handle(item)

    def end(self) -> tuple[list[dict], str]:
        self.handler.close()
        try:
            with open("events/haystack.jsonl", encoding="utf-8") as handle:
                events = [json.loads(line) for line in handle]
        except FileNotFoundError:
            events = []
        return events, self.capsys.readouterr().err


@pytest.fixture
def session(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HAYSTACK_EVENTS", "events/haystack.jsonl")
    return lambda **changes: Session(capsys, **changes)


def write(path, data) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")
    return str(path)


def a_run(tmp_path) -> list[logging.LogRecord]:
    scores = [
        {"iteration": 1, "prompt_id": "p1", "composite_value": 4.4},
        {"iteration": 2, "prompt_id": "p2", "composite_value": 7.1},
    ]
    records = [record(LogEvent.WORKFLOW_STARTED), record(LogEvent.RUN_INFO, stats={"render_report": 2, "total": 9})]
    for i in (1, 2):
        reason = "threshold_reached" if i == 2 else None
        content = {"scores": scores[:i], "threshold": 7, "reason": reason}
        path = f"results/runs/a/iter_{i}/decision.json"
        write(tmp_path / path, content)
        records += [started(i, "decide", "a", i, [path]), finished(i)]
    answer = {"answer": {"best_iteration": 2, "composite_value": 7.1}, "iterations": []}
    write(tmp_path / "results/runs/a/a_log.json", answer)
    report = "results/runs/a/a_report.html"
    return [
        *records,
        started(3, "render_report", "a", output=[report]),
        finished(3),
        record(LogEvent.PROGRESS, done=3, total=9),
    ]


def test_snakemake_finds_the_plugin():
    plugin = LoggerPluginRegistry().get_plugin("haystack")
    assert plugin.log_handler is LogHandler


def test_events_of_a_run(session, tmp_path):
    running = session()
    running.send(*a_run(tmp_path))
    events, shown = running.end()
    assert [list(event) for event in events] == [KEYS] * len(events)
    assert [event["event"] for event in events] == [
        *("run_started", "stage_started", "stage_finished", "iteration_scored"),
        *("stage_started", "stage_finished", "iteration_scored"),
        *("stage_started", "stage_finished", "run_finished", "workflow_finished"),
    ]
    first, second = (event for event in events if event["event"] == "iteration_scored")
    assert (first["score"], first["threshold"], first["reason"]) == (4.4, 7, None)
    assert (second["iteration"], second["score"], second["reason"]) == (2, 7.1, "threshold_reached")
    done = events[-2]
    assert (done["run_id"], done["score"], done["reason"]) == ("a", 7.1, "threshold_reached")
    assert events[-1]["reason"] == "completed"
    assert (
        "a: finished, score 7.1, threshold reached. 1 of 2 runs finished; report: results/runs/a/a_report.html" in shown
    )
    assert "all done: 1 run had work. 3 steps done" in shown
    assert "score 4.4 (threshold 7); going on" in shown


REPORTS = [f"results/runs/{run_id}/{run_id}_report.html" for run_id in "ab"]


def test_runs_without_work_are_unchanged_not_missing(session):
    running = session()
    running.send(record(LogEvent.WORKFLOW_STARTED), record(LogEvent.RUN_INFO, stats={"render_report": 2, "total": 6}))
    # Both reports were planned; the decision of a is what it was, so its report stays.
    running.send(started(1, "render_report", "b"), finished(1))
    running.send(started(2, "summarize_runs", inputs=[*REPORTS, "results/runs/a/a_log.json"]), finished(2))
    running.send(started(3, "all", inputs=["results/summary.tsv", "results/summary.html", *REPORTS]), finished(3))
    running.send(record(LogEvent.PROGRESS, done=6, total=6))
    events, shown = running.end()
    last = shown.splitlines()[-1]
    assert re.search(r"\] all done: 1 run had work, 1 unchanged\. 6 steps done in 0:00:\d\d; summary: \S+$", last)
    assert last.endswith("summary: results/summary.html")
    assert "all" not in {event["stage"] for event in events}
    assert "[all," not in shown


def test_a_run_that_needed_no_new_report_is_finished(session):
    running = session()
    running.send(record(LogEvent.WORKFLOW_STARTED), started(1, "decide", "a", 1), finished(1))
    running.send(started(2, "render_report", "b"), finished(2), record(LogEvent.PROGRESS, done=2, total=2))
    _, shown = running.end()
    assert "all done: 2 runs had work. 2 steps done" in shown


def test_only_the_summary_had_work(session):
    running = session()
    inputs = [f"gs://bucket/{path} (retrieve from storage)" for path in REPORTS]
    running.send(record(LogEvent.WORKFLOW_STARTED), record(LogEvent.RUN_INFO, stats={"summarize_runs": 1, "total": 2}))
    running.send(started(1, "summarize_runs", inputs=inputs), finished(1), record(LogEvent.PROGRESS, done=2, total=2))
    _, shown = running.end()
    assert "all done: no run had work, 2 unchanged. 2 steps done" in shown
    assert "0 of 0" not in shown


@pytest.mark.parametrize("dryrun", [True, False])
def test_hints_on_a_cache_that_nobody_asked_for_are_left_out(session, dryrun):
    running = session(dryrun=dryrun)
    hint = "Workflow defines that rule train_model is eligible for caching between workflows (use --cache)."
    running.send(record(text=hint, level=logging.WARNING), record(text="a true warning", level=logging.WARNING))
    _, shown = running.end()
    assert "eligible for caching" not in shown
    assert "a true warning" in shown


def test_outputs_on_another_machine_give_events_without_scores(session):
    running = session()
    running.send(started(1, "decide", "a", 1, ["gs://bucket/results/runs/a/iter_1/decision.json (send to storage)"]))
    running.send(finished(1))
    events, _ = running.end()
    assert [(event["event"], event["score"]) for event in events[-1:]] == [("iteration_scored", None)]


def test_copy_of_a_cloud_output_is_read(session, tmp_path):
    path = ".snakemake/storage/gcs/bucket/results/runs/a/iter_1/decision.json"
    score = {"iteration": 1, "composite_value": 3.0}
    write(tmp_path / path, {"scores": [score], "threshold": 7, "reason": None})
    running = session()
    running.send(started(1, "decide", "a", 1, ["gs://bucket/results/runs/a/iter_1/decision.json (send to storage)"]))
    running.send(finished(1))
    events, _ = running.end()
    assert events[-1]["score"] == 3


@pytest.mark.parametrize("explained", [True, False])
def test_a_failure_is_told_once_by_its_script_or_else_by_its_log(session, tmp_path, explained):
    if explained:
        write(
            tmp_path / "results/runs/a/failure.json", {"rule": "parse_query", "message": "unicorn: no such cell type"}
        )
    (tmp_path / "parse.log").write_text("what the job said\n")
    running = session()
    running.send(
        record(LogEvent.WORKFLOW_STARTED),
        started(1, "parse_query", "a"),
        record(text="RuleException:\nCalledProcessError in file x.smk, line 3", level=logging.ERROR),
        failed(1, "parse_query", "parse.log"),
    )
    running.send(record(text="Shutting down, this might take some time."))
    events, shown = running.end()
    assert [event["event"] for event in events][-2:] == ["run_failed", "workflow_finished"]
    assert events[-1]["reason"] == "failed"
    assert "1 failed" in shown
    assert "RuleException" not in shown
    if explained:
        assert events[-2]["message"] == "unicorn: no such cell type"
        assert shown.count("unicorn") == 1
    else:
        assert events[-2]["message"] == "parse_query failed; see logs/parse_query.log"
    assert ("what the job said" in shown) is ("Error in rule parse_query" in shown) is not explained
    assert "message: None" not in shown


def test_of_a_script_that_a_signal_ended_the_signal_is_shown(session):
    """It could say nothing itself, and the run service reads here that the run was killed."""
    running = session()
    why = "RuleException:\nCalledProcessError in file x.smk, line 3:\nCommand 'x' died with <Signals.SIGKILL: 9>."
    running.send(started(1, "stack_inference", "a", 1), record(text=why, level=logging.ERROR))
    running.send(failed(1, "stack_inference", "x.log"))
    _, shown = running.end()
    assert "died with <Signals.SIGKILL: 9>" in shown


def test_a_job_that_is_tried_again_has_not_failed(session):
    running = session()
    running.send(started(1, "stack_inference", "a", 1), failed(1, "stack_inference", "x.log"))
    running.send(record(text="Trying to restart job 1."), record(text="Select jobs to execute..."))
    running.send(started(1, "stack_inference", "a", 1), finished(1))
    events, _ = running.end()
    assert "run_failed" not in [event["event"] for event in events]


def test_error_before_any_job_is_shown_and_told(session):
    running = session()
    running.send(record(LogEvent.ERROR, text="WorkflowError:\nno such file x.h5ad", level=logging.ERROR))
    events, shown = running.end()
    assert "no such file x.h5ad" in shown
    assert [(event["event"], event["reason"]) for event in events] == [("workflow_finished", "failed")]
    assert "no such file x.h5ad" in events[0]["message"]


def test_dry_run_looks_as_always_and_tells_nothing(session):
    running = session(dryrun=True)
    running.send(record(LogEvent.WORKFLOW_STARTED), record(text="This was a dry-run"))
    events, shown = running.end()
    assert events == []
    assert "This was a dry-run" in shown


def test_quiet_leaves_errors_and_events(session):
    from snakemake.settings.enums import Quietness

    running = session(quiet={Quietness.PROGRESS})
    running.send(started(1, "decide", "a", 1), record(text="something went wrong", level=logging.ERROR))
    events, shown = running.end()
    assert events[0]["event"] == "run_started"
    assert "something went wrong" in shown
    assert "doing decide" not in shown


def test_a_fault_in_the_logger_costs_no_message(session):
    running = session()
    broken = started(1, "decide", "a", 1)
    broken.wildcards = 7
    running.send(broken, record(text="all is well", level=logging.WARNING))
    _, shown = running.end()
    assert "The haystack logger failed" in shown
    assert "all is well" in shown


def test_events_file_that_cannot_be_written_is_named_once(session, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HAYSTACK_EVENTS", "file/events.jsonl")
    running = session()
    running.send(started(1, "decide", "a", 1), finished(1))
    _, shown = running.end()
    assert shown.count("no events are kept") == 1
    assert "doing decide" in shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 60 columns and 24 lines, as what rich asks."""
    for name, value in {"TERM": "xterm", "COLUMNS": "60", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    return Terminal()


def drawn(tracker, most: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=100).print(board(tracker, most))
    return [line.rstrip() for line in stream.getvalue().splitlines() if line.strip()]


def after_the_end(text: str) -> list[str]:
    """What a terminal shows of `text`: lines up and erasures carried out, colours left out."""
    lines, row = [""], 0
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\n|\r)", text):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif found := re.fullmatch(r"\x1b\[(\d+)A", part):
            row -= int(found[1])
        elif part and part != "\r" and not part.startswith("\x1b"):
            lines[row] += part
    return [line for line in lines if line.strip()]


def test_a_terminal_gets_a_board_and_nothing_else_imports_rich(terminal, monkeypatch):
    monkeypatch.setattr("sys.stderr", terminal)
    assert isinstance(open_display(settings()), Board)
    code = (
        "import sys, types, snakemake_logger_plugin_haystack.display as d;"
        f"d.open_display(types.SimpleNamespace(**{vars(settings())}));"
        "sys.exit('rich.live' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, check=False).returncode == 0


def test_board_shows_each_run_once_with_its_time_and_leaves_lines_only(session, terminal):
    running = session()
    running.handler.display = Board(settings(), terminal)
    running.send(started(1, "harmonize_atlas"), started(2, "decide", "a", 1), started(3, "parse_query", "b"))
    running.handler.tracker.runs["a"].since -= 3725
    lines = drawn(running.handler.tracker, 12)
    assert [line.split()[0] for line in lines] == ["all", "a", "b", "0", "0"]
    assert re.search(r"1:02:\d\d$", lines[1])  # a slow machine may take seconds to draw
    assert "doing decide" in lines[1]
    running.send(record(text="one warning", level=logging.WARNING), finished(2))
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")  # the cursor is shown
    while_running = after_the_end(terminal.getvalue())
    assert max(len(line) for line in while_running) <= 60
    assert sum(line.startswith("a ") for line in while_running) == 1
    running.handler.close()
    left = after_the_end(terminal.getvalue())
    assert left[0] == "one warning"
    assert [line for line in left[1:] if not re.match(r"\[\d\d:\d\d:\d\d\] a, iteration 1: no score", line)] == []


def test_a_fault_in_the_board_clears_it_and_costs_no_message(session, terminal, monkeypatch):
    running = session()
    running.handler.display = Board(settings(), terminal)
    running.send(started(1, "decide", "a", 1))
    broken = started(2, "decide", "b", 1)
    broken.wildcards = 7
    running.send(broken, record(text="all is well", level=logging.WARNING))
    assert not running.handler.display.live.is_started
    assert after_the_end(terminal.getvalue())[-1] == "all is well"


def test_board_of_many_runs_is_short():
    tracker = Tracker()
    tracker.runs = {f"run{i}": RunState(stage="decide") for i in range(100)}
    lines = drawn(tracker, 12)
    assert len(lines) == 15
    assert "88 more" in lines[-3]


def test_board_counts_what_runs_waits_and_is_left():
    tracker = Tracker()
    tracker.runs = {"a": RunState(stage="decide"), "b": RunState(stage="decide", status="finished")}
    tracker.expected_runs, tracker.total, tracker.done = 5, 40, 10
    tracker.since = time.monotonic() - 100
    counts, times = drawn(tracker, 12)[-2:]
    assert counts == "1 of 5 runs finished, 1 running, 3 waiting"
    assert times == "10 of 40 steps so far; 0:01:40 elapsed, about 0:05:00 left"
