"""Questions are looked at before the start, and those that were understood once are not parsed again."""

import pytest

from haystack.errors import HaystackError
from haystack.workflow import questions

GOOD = ("r1", "How would B cells respond to IL-4?", {"strict": True})
BAD = ("r2", "How would gnrpfs respond to IL-4?", {"strict": True})


@pytest.fixture
def parsed(tmp_path, monkeypatch):
    """Ids of the runs whose questions were parsed, start after start."""
    monkeypatch.chdir(tmp_path)
    found = []
    plain = questions._parse
    monkeypatch.setattr(questions, "_parse", lambda asked: found.append([one[0] for one in asked]) or plain(asked))
    return found


def test_what_was_understood_is_parsed_once_and_a_problem_is_told_at_every_start(parsed):
    first = questions.misunderstood([GOOD, BAD])
    assert len(first) == 1
    assert first[0].startswith("run r2: ")
    assert questions.misunderstood([GOOD, BAD]) == first
    assert parsed == [["r1", "r2"], ["r2"]]
    assert questions.misunderstood([GOOD]) == []
    assert len(parsed) == 2


def test_a_check_that_is_killed_names_the_signal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(questions.sys, "executable", str(tmp_path / "killed"))
    (tmp_path / "killed").write_text("#!/bin/sh\necho a warning >&2\nkill -9 $$\n")
    (tmp_path / "killed").chmod(0o755)
    with pytest.raises(HaystackError, match=r"died with <Signals[.]SIGKILL: 9>"):
        questions.misunderstood([GOOD])


@pytest.mark.parametrize("change", ["question", "settings", "code"])
def test_a_change_is_parsed_again(monkeypatch, tmp_path, change):
    monkeypatch.chdir(tmp_path)
    parsed = []
    monkeypatch.setattr(questions, "_parse", lambda asked: parsed.append([one[0] for one in asked]) or {})
    questions.misunderstood([GOOD])
    run_id, text, settings = GOOD
    if change == "code":
        monkeypatch.setattr(questions, "code_hash", lambda *names: "other")
    again = (run_id, text + " " * (change == "question"), settings | {"strict": change != "settings"})
    questions.misunderstood([again])
    assert parsed == [["r1"], ["r1"]]


def test_equal_questions_of_two_runs_are_both_told(parsed):
    found = questions.misunderstood([BAD, ("r3", *BAD[1:])])
    assert [line.partition(":")[0] for line in found] == ["run r2", "run r3"]
