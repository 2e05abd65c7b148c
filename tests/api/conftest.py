"""A real PostgreSQL for the run store and the web service."""

import contextlib
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def _load(name: str):
    """A module beside this file (tests are no package)."""
    spec = importlib.util.spec_from_file_location(f"haystack_tests_{name}", Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Address of a server that the tests start themselves."""
    postgres = _load("postgres")
    if postgres.binaries() is None:
        pytest.skip("no PostgreSQL binaries (Debian: apt-get install postgresql; or set POSTGRES_BIN)")
    with postgres.postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def new_postgres_database(postgres_server) -> Callable[[], str]:
    """Makes an empty database; its address."""
    import psycopg

    numbers = itertools.count(1)

    def make() -> str:
        name = f"haystack_{next(numbers)}"
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return postgres_server.rpartition("/")[0] + f"/{name}"

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    """Address of an empty database; each test runs on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'haystack.sqlite'}"
    return request.getfixturevalue("new_postgres_database")()


_support = _load("api_support")


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Starting the process that reads questions takes longer than its limit where tests keep a machine busy."""
    monkeypatch.setattr("haystack.api.preview.SECONDS", 100)


@pytest.fixture
def proxy():
    """A stand-in for Google's Identity-Aware Proxy."""
    started = _support.Proxy()
    yield started
    started.close()


@pytest.fixture
def start_live(proxy, tmp_path):
    """Starts the service on a real port, with other settings."""
    with contextlib.ExitStack() as stack:
        numbers = itertools.count()

        def start(**changes):
            folder = tmp_path / f"live{next(numbers)}"
            folder.mkdir()
            return stack.enter_context(_support.live(proxy, folder, **changes))

        yield start


@pytest.fixture
def live(start_live):
    """The service on a real port, SQLite, nobody looking after its runs but the test."""
    return start_live()
