"""The PostgreSQL that tests run on: one server, one migrated template, many short-lived copies.

The server is embedded under ``.data/test-postgres`` unless ``DATABASE_URL`` names another. Both
it and the template stay between runs; the template is made anew when a migration changes.
"""

import fcntl
import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from alembic import command
from alembic.config import Config

from wallet.core import embedded
from wallet.core.embedded.databases import run_sql
from wallet.settings import read_settings

ROOT: Final = Path(__file__).resolve().parent.parent
_DATA_DIRECTORY: Final = ROOT / ".data" / "test-postgres"
_COPY_PREFIX: Final = "test_"
_TEMPLATE_PREFIX: Final = "template_wallet_"


@dataclass(frozen=True, kw_only=True)
class Database:
    """A fresh, migrated database: the owner's URL and the application's."""

    name: str
    owner_url: str
    application_url: str


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server and the name of its migrated template."""

    owner_url: str
    application_url: str
    template: str

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Yield a copy of the template, gone again afterwards."""
        name = f"{_COPY_PREFIX}{secrets.token_hex(6)}"
        embedded.create_database(owner_url=self.owner_url, name=name, template=self.template)
        try:
            yield Database(
                name=name,
                owner_url=embedded.url_for(self.owner_url, name),
                application_url=embedded.url_for(self.application_url, name),
            )
        finally:
            embedded.drop_database(owner_url=self.owner_url, name=name)


@contextmanager
def running_server() -> Iterator[Server]:
    """Yield the server; sessions that run at the same time share it, the last one stops it."""
    settings = read_settings()
    if settings.database_url:
        owner_url = settings.database_owner_url or settings.database_url
        yield Server(
            owner_url=owner_url,
            application_url=settings.database_url,
            template=_template(owner_url),
        )
        return
    _DATA_DIRECTORY.parent.mkdir(exist_ok=True)
    with _DATA_DIRECTORY.with_suffix(".users").open("a") as users:
        alone = _is_alone(users)
        if not alone:
            fcntl.flock(users, fcntl.LOCK_SH)  # Before the start, so that nobody stops it after.
        cluster = embedded.start(data_directory=_DATA_DIRECTORY)
        if alone:
            _sweep(cluster.owner_url)
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield Server(
                owner_url=cluster.owner_url,
                application_url=cluster.application_url,
                template=_template(cluster.owner_url),
            )
        finally:
            if _is_alone(users):
                embedded.stop(data_directory=_DATA_DIRECTORY)


def migrate(owner_url: str, *, revision: str = "head") -> None:
    """Bring a database to a revision."""
    command.upgrade(alembic_config(owner_url), revision)


def alembic_config(owner_url: str) -> Config:
    """Return alembic's configuration for one database."""
    config = Config(toml_file=ROOT / "pyproject.toml")
    config.attributes["owner_url"] = owner_url
    return config


def _is_alone(users: IO[str]) -> bool:
    """Whether no other session uses the server; while we hold it, none can begin to."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _template(owner_url: str) -> str:
    """Return the name of the template for today's migrations, made if need be."""
    name = f"{_TEMPLATE_PREFIX}{_migrations_hash()}"
    if name in _names(owner_url):
        return name
    unfinished = f"{_COPY_PREFIX}unfinished_{secrets.token_hex(4)}"
    embedded.create_database(owner_url=owner_url, name=unfinished)
    migrate(embedded.url_for(owner_url, unfinished))
    if name in _names(owner_url):  # Another session was faster.
        embedded.drop_database(owner_url=owner_url, name=unfinished)
    else:
        run_sql(url=owner_url, script=f"ALTER DATABASE {unfinished} RENAME TO {name};")
    return name


def _migrations_hash() -> str:
    paths = sorted((ROOT / "migrations").rglob("*.py"))
    contents = b"\0".join(path.name.encode() + b"\0" + path.read_bytes() for path in paths)
    return hashlib.sha256(contents).hexdigest()[:16]


def _names(owner_url: str) -> set[str]:
    return set(run_sql(url=owner_url, script="SELECT datname FROM pg_database;").split())


def _sweep(owner_url: str) -> None:
    """Drop what sessions that were killed have left, and templates of older migrations."""
    current = f"{_TEMPLATE_PREFIX}{_migrations_hash()}"
    for name in _names(owner_url):
        if name.startswith((_COPY_PREFIX, _TEMPLATE_PREFIX)) and name != current:
            embedded.drop_database(owner_url=owner_url, name=name)
