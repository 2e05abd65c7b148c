"""What may be asked, and how the workflow's event log is read."""

import json

import pytest
from pydantic import ValidationError

from haystack.runs.events import AT_ONCE, read_events
from haystack.runs.models import RunRequest

QUESTION = "How would B cells respond to IL-4?"
RUN = "run_0123456789ab"


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"query": "short"}, "query"),
        ({"query": "          x          "}, "query"),
        ({"query": "x" * 2001}, "query"),
        ({"query": "How would B cells\x00 respond?"}, "query"),
        ({"query": "How would B cells \ud800 respond?"}, "query"),
        ({"query": 12345678901}, "query"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"max_iterations": 11}, "max_iterations"),
        ({"score_threshold": 11}, "score_threshold"),
        ({"prompts_per_iteration": 21}, "prompts_per_iteration"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"de": {"padj": float("nan")}}, "padj"),
        ({"de": {"p": 1}}, "p"),
        ({"control_strategy": "none"}, "control_strategy"),
        ({"shell": "rm -rf /"}, "shell"),
    ],
)
def test_bad_requests_are_refused(fields, where):
    with pytest.raises(ValidationError) as caught:
        RunRequest(**{"query": QUESTION, **fields})
    assert where in {str(part) for error in caught.value.errors() for part in error["loc"]}


@pytest.mark.parametrize("gap", ["\n", "\t", "\r\n", "\u2028", "\x85", "\x0b", "\x1e", "\u00a0"])
def test_a_question_is_one_line(gap):
    """The run table has one row per run and a tab between columns."""
    asked = RunRequest(query=f"How would B cells{gap}run_x\tother question?").query
    assert asked == "How would B cells run_x other question?"


def line(**fields) -> str:
    return json.dumps({"time": "2026-01-01T00:00:00.000+00:00", "value": 7.5, **fields}) + "\n"


def test_events_are_read_from_where_one_stopped(tmp_path):
    path = tmp_path / "events.jsonl"
    assert read_events(path, 0, RUN) == ([], 0)
    path.write_text(line(event="run_started", run_id=RUN) + line(event="stage_started", run_id="another", stage="x"))
    events, read = read_events(path, 0, RUN)
    assert [event.event for event in events] == ["run_started"]
    assert read == path.stat().st_size
    with path.open("a") as handle:
        handle.write(line(event="workflow_finished", run_id=None, reason="completed"))
    events, end = read_events(path, read, RUN)
    assert [(event.event, event.reason) for event in events] == [("workflow_finished", "completed")]
    assert read_events(path, end, RUN) == ([], end)


def test_a_line_that_is_being_written_waits(tmp_path):
    path = tmp_path / "events.jsonl"
    whole, half = line(event="run_started", run_id=RUN), line(event="stage_started", run_id=RUN, stage="décider")
    path.write_bytes(whole.encode() + half.encode()[:-4])
    events, read = read_events(path, 0, RUN)
    assert (len(events), read) == (1, len(whole.encode()))
    path.write_bytes(whole.encode() + half.encode())
    assert len(read_events(path, read, RUN)[0]) == 1


@pytest.mark.parametrize(
    "junk", ["not json\n", "[]\n", '{"event": 5}\n', "\n", '{"event": "x", "iteration": "many"}\n']
)
def test_what_is_no_event_is_passed_over(tmp_path, junk):
    path = tmp_path / "events.jsonl"
    path.write_text(junk + line(event="run_started", run_id=RUN))
    assert [event.event for event in read_events(path, 0, RUN)[0]] == ["run_started"]


def test_an_endless_line_does_not_stop_the_reader(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text("x" * (AT_ONCE + 10) + "\n" + line(event="run_started", run_id=RUN))
    _, read = read_events(path, 0, RUN)
    assert [event.event for event in read_events(path, read, RUN)[0]] == ["run_started"]
