"""The run store on real databases: guards, concurrent writers, migrations."""

import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from haystack.contracts.query import ControlStrategy
from haystack.errors import ConfigError, HaystackError
from haystack.runs.database import REVISION, metadata
from haystack.runs.errors import RunNotFoundError, RunStateError, StoreError
from haystack.runs.models import (
    Notification,
    Phase,
    RunRecord,
    RunResult,
    RunStatus,
    ScoreRecord,
    WorkflowEvent,
    new_run_id,
    utc_now,
)
from haystack.runs.settings import load_service_settings
from haystack.runs.store import RunStore

OWNER = "ada@example.org"


@pytest.fixture
def settings(database_url, tmp_path):
    return load_service_settings(database_url=database_url, work_dir=tmp_path / "service")


@pytest.fixture
def store(settings):
    store = RunStore.open(settings)
    yield store
    store.close()


def record(**fields) -> RunRecord:
    now = utc_now()
    given = {"run_id": new_run_id(), "user_email": OWNER, "query": "How would B cells respond to IL-4?", "node": "here"}
    times = {"created_at": now, "updated_at": now, "submitted_at": now}
    return RunRecord(**{**given, **times, "backend": "local", **fields})


def running(store, **fields) -> RunRecord:
    run = store.create(record(**fields))
    return store.transition(run.run_id, RunStatus.RUNNING)


def test_every_field_comes_back_as_it_was_written(store):
    result = RunResult(
        success=True,
        grounding_score=7,
        termination_reason="plateau",
        num_de_genes=2,
        top_upregulated=["GBP1"],
        top_downregulated=[],
        enriched_pathways=[{"term": "α-synuclein", "library": "x", "direction": "up", "padj": 1e-300}],
        activated_tfs=[{"name": "STAT1", "direction": "up", "statistic": None, "padj": 0.01}],
    )
    run = record(
        query="Wie reagieren B-Zellen auf <script>'; DROP TABLE runs;-- 🧬?",
        structured_query={"cell_type": None, "names": ["é", "日本"]},
        config={"de": {"padj": 0.01}, "seed": 2**32 - 1},
        seed=2**32 - 1,
        status=RunStatus.COMPLETED,
        phase=Phase.OUTPUT_GENERATION,
        iteration=3,
        scores=[ScoreRecord(iteration=1, score=None), ScoreRecord(iteration=2, score=7)],
        control_strategy=ControlStrategy.QUERY_AS_CONTROL,
        final_score=7.25,
        outputs={"log": "/somewhere/log.json"},
        result=result,
        events_read=2**40,
        notification=Notification.SENT,
    )
    store.create(run)
    assert store.get(run.run_id) == run


def test_run_ids_are_random_hexadecimal():
    ids = {new_run_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(name) == 16 and int(name.removeprefix("run_"), 16) >= 0 for name in ids)


def test_a_run_id_is_used_once(store):
    run = store.create(record())
    with pytest.raises(RunStateError, match="exists already"):
        store.create(run)


@pytest.mark.parametrize("run_id", ["run_000000000000", "'; DROP TABLE runs;--", "../../etc/passwd", "", "x" * 10_000])
def test_an_unknown_run_is_not_found(store, run_id):
    with pytest.raises(RunNotFoundError):
        store.get(run_id)
    assert store.list_runs().total == 0


def test_a_cancelled_run_becomes_nothing_else(store):
    run = running(store)
    assert store.cancel(run.run_id).status is RunStatus.CANCELLED
    for status in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.RUNNING, RunStatus.CANCELLED):
        with pytest.raises(RunStateError, match="is cancelled"):
            store.transition(run.run_id, status, final_score=9)
    found = store.get(run.run_id)
    assert (found.status, found.final_score, found.termination_reason) == (RunStatus.CANCELLED, None, "cancelled")


@pytest.mark.parametrize("end", [RunStatus.COMPLETED, RunStatus.FAILED])
def test_an_ended_run_cannot_be_cancelled(store, end):
    run = running(store)
    store.transition(run.run_id, end)
    with pytest.raises(RunStateError):
        store.cancel(run.run_id)


def test_a_pending_run_cannot_complete(store):
    run = store.create(record())
    with pytest.raises(RunStateError):
        store.transition(run.run_id, RunStatus.COMPLETED)


def test_of_many_enders_exactly_one_wins(store):
    """Cancel and complete race, from many threads, over many runs."""
    runs = [running(store) for _ in range(10)]
    wins: list[tuple[str, RunStatus]] = []
    gate = threading.Barrier(8)

    def end(status: RunStatus) -> None:
        gate.wait()
        for run in runs:
            try:
                store.transition(run.run_id, status)
            except RunStateError:
                continue
            wins.append((run.run_id, status))

    ends = [RunStatus.CANCELLED, RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED] * 2
    threads = [threading.Thread(target=end, args=(status,)) for status in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run_id for run_id, _ in wins) == sorted(run.run_id for run in runs)
    assert {run_id: store.get(run_id).status for run_id, _ in wins} == dict(wins)


def test_no_update_is_lost(store):
    """Eight threads add to one JSON column at once."""
    run = running(store)

    def add(number: int) -> None:
        for i in range(5):
            key = f"{number}-{i}"
            store.change(run.run_id, lambda now, key=key: {"outputs": {**now.outputs, key: "x"}})

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.get(run.run_id)
    assert len(found.outputs) == 40
    assert found.version == run.version + 40


def test_a_status_is_changed_by_transition_only(store):
    run = running(store)
    with pytest.raises(ValueError, match="transition"):
        store.change(run.run_id, lambda _: {"status": RunStatus.COMPLETED})


def event(name: str, **fields) -> WorkflowEvent:
    return WorkflowEvent(event=name, **fields)


def test_events_move_phase_iteration_and_scores(store):
    run = running(store)
    first = [
        event("stage_started", stage="parse_query"),
        event("stage_started", stage="retrieve_cells", iteration=1),
        event("stage_started", stage="stack_inference", iteration=1),
    ]
    found = store.record_events(run.run_id, first, 100)
    assert (found.phase, found.iteration, found.events_read) == (Phase.INFERENCE, 1, 100)
    second = [
        event("iteration_scored", iteration=1, score=4),
        event("iteration_scored", iteration=2, score=None),
        event("stage_started", stage="collect_outputs", iteration=None),
        event("run_finished", reason="max_iterations", score=4),
    ]
    found = store.record_events(run.run_id, second, 200)
    assert found.phase is Phase.OUTPUT_GENERATION
    assert [(item.iteration, item.score) for item in found.scores] == [(1, 4), (2, None)]
    assert found.termination_reason == "max_iterations"
    assert found.status is RunStatus.RUNNING


def test_events_count_once(store):
    run = running(store)
    store.record_events(run.run_id, [event("iteration_scored", iteration=1, score=4)], 100)
    again = store.record_events(run.run_id, [event("iteration_scored", iteration=1, score=9)], 100)
    assert again.scores == [ScoreRecord(iteration=1, score=4)]


def test_events_do_not_touch_an_ended_run(store):
    run = running(store)
    store.cancel(run.run_id)
    found = store.record_events(run.run_id, [event("stage_started", stage="stack_inference", iteration=1)], 100)
    assert (found.phase, found.status) == (Phase.PENDING, RunStatus.CANCELLED)


def test_each_waiting_run_is_claimed_by_one(store):
    for _ in range(20):
        store.create(record())
    claimed: list[str] = []

    def claim() -> None:
        claimed.extend(run.run_id for run in store.claim("here", "local", 20, 60))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) == 20


def test_claims_respect_limit_order_and_node(store):
    now = utc_now()
    old, new = (store.create(record(created_at=now - timedelta(minutes=age))) for age in (2, 1))
    store.create(record(node="elsewhere"))
    store.create(record(submitted_at=None))
    assert [run.run_id for run in store.claim("here", "local", 1, 60)] == [old.run_id]
    assert store.claim("here", "local", 1, 60) == []
    store.transition(old.run_id, RunStatus.COMPLETED)
    (second,) = store.claim("here", "local", 1, 60)
    assert (second.run_id, second.attempts, second.status) == (new.run_id, 1, RunStatus.RUNNING)


def test_one_of_several_leads_until_it_is_silent(settings, store, monkeypatch):
    other = RunStore.open(settings)
    assert store.lead("first", 60)
    assert not other.lead("second", 60)
    assert store.lead("first", 60)
    later = store.now() + timedelta(seconds=61)
    monkeypatch.setattr(other, "now", lambda: later)
    assert other.lead("second", 60)
    assert not store.lead("first", 60)
    monkeypatch.undo()
    other.resign("second")
    assert store.lead("first", 60)
    other.close()


def test_people_take_turns(store):
    now = utc_now()
    many = [store.create(record(created_at=now + timedelta(seconds=i))).run_id for i in range(4)]
    late = store.create(record(user_email="eve@example.org", created_at=now + timedelta(minutes=1))).run_id
    assert [run.run_id for run in store.claim("here", "local", 2, 60)] == [many[0], late]
    store.transition(late, RunStatus.COMPLETED)
    last = store.create(record(user_email="eve@example.org", created_at=now + timedelta(minutes=2))).run_id
    assert [run.run_id for run in store.claim("here", "local", 2, 60)] == [last]
    store.transition(many[0], RunStatus.COMPLETED)
    assert [run.run_id for run in store.claim("here", "local", 2, 60)] == [many[1]]


def test_nothing_starts_beside_a_run_that_is_tried_again(store):
    store.change(running(store).run_id, lambda _: {"killed": 1})
    store.create(record())
    assert store.claim("here", "local", 4, 60) == []


def test_a_clock_that_is_ahead_ends_nobody_elses_runs(settings, store, monkeypatch):
    """Leases are written and read by the database's clock."""
    run = running(store)
    store.renew("here", 600)
    other = RunStore.open(settings)
    monkeypatch.setattr("haystack.runs.store.utc_now", lambda: utc_now() + timedelta(seconds=700))
    assert other.abandoned() == []
    other.renew("here", 600)
    monkeypatch.undo()
    assert abs((other.get(run.run_id).lease_until - utc_now()).total_seconds() - 600) < 60
    other.close()


def test_a_database_of_the_first_version_is_brought_up_to_date(settings, store):
    from alembic import command
    from alembic.config import Config

    import haystack.runs.database as module

    run = store.create(record())
    config = Config()
    config.set_main_option("script_location", str(Path(module.__file__).parent / "migrations"))
    with store._engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    again = RunStore.open(settings)
    assert again.get(run.run_id) == run
    again.close()


def test_lists_are_paged_newest_first_and_by_owner(store):
    now = utc_now()
    mine = [store.create(record(created_at=now + timedelta(seconds=i))).run_id for i in range(5)]
    store.create(record(user_email="eve@example.org"))
    assert [run.run_id for run in store.list_runs(OWNER, page=1, page_size=2).runs] == mine[:2:-1]
    last = store.list_runs(OWNER, page=3, page_size=2)
    assert ([run.run_id for run in last.runs], last.total) == (mine[:1], 5)
    store.cancel(mine[2])
    assert [run.run_id for run in store.list_runs(OWNER, status=RunStatus.CANCELLED).runs] == [mine[2]]
    assert store.list_runs(None).total == 6
    assert store.count_active(OWNER) == 4


def test_silent_nodes_are_seen(store):
    run = store.create(record(node="dead", lease_until=utc_now() - timedelta(seconds=1)))
    store.create(record(node="here", lease_until=utc_now() - timedelta(seconds=1)))
    store.renew("here", 60)
    assert [found.run_id for found in store.abandoned()] == [run.run_id]


def test_an_email_is_taken_by_one_and_only_where_asked_for(settings, store):
    run = running(store)
    assert store.cancel(run.run_id).notification is Notification.NONE
    mailing = RunStore(store._engine, {"completed"})
    run = running(mailing)
    assert mailing.transition(run.run_id, RunStatus.COMPLETED).notification is Notification.DUE
    assert [mailing.take_notification(run.run_id) for _ in range(3)] == [True, False, False]


OPEN_AND_COUNT = """
import sys
from pathlib import Path

from haystack.runs.settings import load_service_settings
from haystack.runs.store import RunStore

store = RunStore.open(load_service_settings(database_url=sys.argv[1], work_dir=Path(sys.argv[2])))
print(store.list_runs().total)
store.close()
"""


@pytest.mark.slow
def test_many_processes_may_start_at_once_on_an_empty_database(settings, database_url):
    command = [sys.executable, "-c", OPEN_AND_COUNT, database_url, str(settings.work_dir)]
    opening = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in opening] == ["0"] * 2


def test_the_migrated_schema_is_the_one_that_the_code_expects(settings, store):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with store._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == REVISION


def test_the_newest_migration_is_the_revision_of_the_code():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    import haystack.runs

    config = Config()
    config.set_main_option("script_location", str(Path(haystack.runs.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION


def test_a_database_of_a_newer_version_is_refused(settings, store):
    with store._engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"9999.*older than its database"):
        RunStore.open(settings)


def test_ready_says_when_the_database_is_gone(settings, store, database_url):
    store.ready()
    if database_url.startswith("sqlite"):
        with store._engine.begin() as connection:
            connection.execute(text("DROP TABLE runs"))
        with pytest.raises(StoreError, match="cannot be read"):
            store.get("run_000000000000")
        return
    nowhere = load_service_settings(
        database_url="postgresql://u:hunter2secret@127.0.0.1:1/x", work_dir=settings.work_dir
    )
    with pytest.raises(StoreError) as caught:
        RunStore.open(nowhere)
    assert "hunter2secret" not in str(caught.value)
    assert "127.0.0.1:1" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:hunter2secret@h/x", "'mysql' is not supported"),
        ("sqlite://", "needs a file"),
        ("hunter2secret", "not a database address"),
    ],
)
def test_other_databases_are_refused_without_showing_the_address(tmp_path, url, said):
    settings = load_service_settings(database_url=url, work_dir=tmp_path)
    with pytest.raises(ConfigError, match=said) as caught:
        RunStore.open(settings)
    assert "hunter2secret" not in str(caught.value) + repr(settings)


def test_cloud_sql_is_reached_through_the_connector(postgres_server, tmp_path, monkeypatch):
    """The connector is replaced by one that knows the way to the real server of the tests."""
    pg8000 = pytest.importorskip("pg8000.dbapi")
    import sys
    import types

    asked = []

    class Connector:
        def __init__(self, **_):
            pass

        def connect(self, instance, driver, **how):
            asked.append((instance, driver, how))
            host, port = postgres_server.rpartition("@")[2].split("/")[0].split(":")
            return pg8000.connect(user=how["user"], host=host, port=int(port), database=how["db"])

    for name in ("google", "google.cloud", "google.cloud.sql"):
        if name not in sys.modules:
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    module = types.ModuleType("google.cloud.sql.connector")
    module.Connector = Connector
    monkeypatch.setitem(sys.modules, "google.cloud.sql.connector", module)
    settings = load_service_settings(
        database_url="postgresql://haystack@/postgres", cloud_sql_instance="project:region:instance", work_dir=tmp_path
    )
    store = RunStore.open(settings)
    run = store.create(record())
    assert store.get(run.run_id) == run
    store.close()
    assert asked[0] == (
        "project:region:instance",
        "pg8000",
        {"user": "haystack", "db": "postgres", "enable_iam_auth": True},
    )
    engine = create_engine(postgres_server.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        assert inspect(connection).has_table("runs")
        connection.execute(text("DROP TABLE runs"))
        connection.execute(text("DROP TABLE alembic_version"))
    engine.dispose()


def test_store_errors_are_haystack_errors():
    assert issubclass(StoreError, HaystackError)
