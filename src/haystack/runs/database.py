"""The table, its database, and its migrations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import BaseModel
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.types import TypeDecorator

from haystack.errors import ConfigError, MissingExtraError
from haystack.runs.errors import StoreError
from haystack.runs.models import RunRecord
from haystack.runs.settings import ServiceSettings

REVISION = "0006"
"""newest migration; a test compares it with the folder"""
MIGRATION_LOCK = 7_216_043_119
"""key of PostgreSQL's advisory lock while the schema is brought up to date"""


class UtcTime(TypeDecorator[datetime]):
    """A time with its zone, also where the database keeps none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """To UTC."""
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """SQLite drops the zone; PostgreSQL gives the session's."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class JsonText(TypeDecorator[Any]):
    """JSON as text: the same in both databases, never asked for from within."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> str | None:
        """To text."""
        return None if value is None else json.dumps(value, ensure_ascii=False, allow_nan=False)

    def process_result_value(self, value: str | None, dialect: Any) -> Any:
        """From text."""
        return None if value is None else json.loads(value)


metadata = MetaData()
runs = Table(
    "runs",
    metadata,
    Column("run_id", String(16), primary_key=True),
    Column("user_email", String(320), nullable=False),
    Column("query", Text, nullable=False),
    Column("structured_query", JsonText),
    Column("config", JsonText, nullable=False),
    Column("seed", BigInteger),
    Column("status", String(16), nullable=False),
    Column("phase", String(32), nullable=False),
    Column("iteration", Integer, nullable=False),
    Column("max_iterations", Integer),
    Column("scores", JsonText, nullable=False),
    Column("control_strategy", String(32)),
    Column("control_strategy_effective", String(32)),
    Column("final_score", Float),
    Column("termination_reason", String(32)),
    Column("error_type", String(128)),
    Column("error_message", Text),
    Column("backend", String(16), nullable=False),
    Column("node", String(64)),
    Column("job_name", Text),
    Column("outputs", JsonText, nullable=False),
    Column("result", JsonText),
    Column("attempts", Integer, nullable=False),
    Column("killed", Integer, nullable=False),
    Column("stage", String(64)),
    Column("request_key", String(200)),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("submitted_at", UtcTime),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("stopped_at", UtcTime),
    Column("lease_until", UtcTime),
    Column("events_read", BigInteger, nullable=False),
    Column("notification", String(16), nullable=False),
    Column("notification_attempts", Integer, nullable=False),
    Column("size_bytes", BigInteger),
    Column("version", Integer, nullable=False),
    Index("runs_of_user", "user_email", "created_at"),
    Index("runs_by_request", "user_email", "request_key", unique=True),
    Index("runs_by_status", "status", "created_at"),
    Index("runs_by_notification", "notification"),
)

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("beats", BigInteger, nullable=False),
)
leader = Table(
    "leader",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("holder", String(32), nullable=False),
    Column("until", UtcTime, nullable=False),
)
tokens = Table(
    "tokens",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("user_email", String(320), nullable=False),
    Column("name", String(100), nullable=False),
    Column("scope", String(8), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
    Index("tokens_by_hash", "hash", unique=True),
    Index("tokens_of_user", "user_email"),
)
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("user_email", String(320), nullable=False),
    Column("action", String(16), nullable=False),
    Column("about", String(320), nullable=False),
)


def to_row(values: RunRecord | Mapping[str, Any]) -> dict[str, Any]:
    """Column values: enums become their words, models plain data."""
    fields = (
        {name: getattr(values, name) for name in RunRecord.model_fields} if isinstance(values, RunRecord) else values
    )
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def from_row(row: Mapping[Any, Any]) -> RunRecord:
    """The record of a row."""
    return RunRecord.model_validate(dict(row))


def connect(settings: ServiceSettings) -> Engine:
    """An engine with limits that suit a small service.

    Raises
    ------
    ConfigError
        for an address that is not one of SQLite or PostgreSQL.
    MissingExtraError
        when the driver is not installed.
    """
    try:
        url = make_url(settings.url.get_secret_value())
    except ArgumentError:
        raise ConfigError(
            "HAYSTACK_DATABASE_URL: not a database address, such as postgresql://user:password@host/name"
        ) from None
    kind = url.get_backend_name()
    if kind == "sqlite":
        if url.database in {None, "", ":memory:"}:
            raise ConfigError("HAYSTACK_DATABASE_URL: SQLite needs a file (sqlite:///folder/haystack.sqlite)")
        Path(str(url.database)).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False}, hide_parameters=True)
        event.listen(engine, "connect", _configure_sqlite)
        return engine
    if kind != "postgresql":
        raise ConfigError(f"HAYSTACK_DATABASE_URL: '{kind}' is not supported; use sqlite or postgresql")
    options: dict[str, Any] = {"pool_size": 10, "max_overflow": 20, "pool_pre_ping": True, "hide_parameters": True}
    extra = "cloudsql" if settings.cloud_sql_instance else "postgres"
    try:
        if settings.cloud_sql_instance:
            return _cloud_sql(settings.cloud_sql_instance, url, options)
        return create_engine(url.set(drivername="postgresql+psycopg"), connect_args={"connect_timeout": 10}, **options)
    except ModuleNotFoundError as error:
        raise MissingExtraError(extra, f"PostgreSQL ({error.name})") from None


def _cloud_sql(instance: str, url: Any, options: dict[str, Any]) -> Engine:
    """Through Google's connector: encrypted, with IAM sign-in where the address holds no password."""
    from google.cloud.sql.connector import Connector

    connector = Connector(refresh_strategy="lazy")

    def new_connection() -> Any:
        how = {"password": url.password} if url.password else {"enable_iam_auth": True}
        return connector.connect(instance, "pg8000", user=url.username, db=url.database, **how)

    return create_engine("postgresql+pg8000://", creator=new_connection, **options)


def _configure_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    # Readers do not wait for the writer. FULL: a submission that was answered survives a power cut.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def migrate(engine: Engine) -> None:
    """Bring the schema up to date; of several processes that start at once, one does it and the others wait.

    Raises
    ------
    StoreError
        when the database cannot be reached, or was made by a newer version.
    """
    try:
        if _revision(engine) == REVISION:
            return
        with _alone(engine):
            _upgrade(engine)
    except SQLAlchemyError as error:
        address = engine.url.render_as_string(hide_password=True)
        raise StoreError(f"{address}: cannot be opened: {_reason(error)}") from None


def _reason(error: SQLAlchemyError) -> str:
    first = str(getattr(error, "orig", None) or error).strip().splitlines()
    return first[0] if first else type(error).__name__


def _revision(engine: Engine) -> str | None:
    from sqlalchemy import inspect

    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError:
            raise StoreError(
                f"the database is of version {_revision(engine)}, which this program does not know (it knows up to "
                f"{REVISION}): update the program, it is older than its database"
            ) from None


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
        return
    with FileLock(f"{engine.url.database}.migration"):
        yield
