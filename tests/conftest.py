"""Fixtures for everything that needs a database; rules are tested without any of them."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.servers import Database, Server, running_server

settings.register_profile("long", max_examples=2_000)
"""For a night: twenty times as many examples, with ``--hypothesis-profile=long``."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a night run kill more often than a build can wait for."""
    parser.addoption(
        "--kills",
        type=int,
        default=20,
        help="how often the till and PostgreSQL are killed under load, half each (20)",
    )


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Yield the server that all tests share."""
    with running_server() as server:
        yield server


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    """Yield a fresh, migrated database for one test."""
    with server.database() as database:
        yield database


@pytest.fixture(scope="module")
def module_database(server: Server) -> Iterator[Database]:
    """Yield a fresh, migrated database that the tests of one module share."""
    with server.database() as database:
        yield database
