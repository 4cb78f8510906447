"""Roles and databases of a server, by its own ``psql``; works for any server with a URL."""

import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from wallet.core.embedded.binaries import find_psql
from wallet.core.embedded.errors import EmbeddedPostgresError
from wallet.core.embedded.folder import APPLICATION, OWNER

DATABASE: Final = "wallet"

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_TIMEOUT_S: Final = 60.0
DROPS_MAX: Final = 10
_DROP_PAUSE_S: Final = 0.3


def create_database(*, owner_url: str, name: str, template: str | None = None) -> None:
    """Create a database that the URL's role owns, optionally as a copy of ``template``.

    Raises :class:`EmbeddedPostgresError` with PostgreSQL's own words when it refuses.
    """
    source = f" TEMPLATE {_checked(template)}" if template else ""
    run_sql(
        url=url_for(owner_url, "postgres"),
        script=f"CREATE DATABASE {_checked(name)}{source};\n"
        f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC;\n",
    )


def drop_database(*, owner_url: str, name: str) -> None:
    """Drop a database if it is there, ending whatever still uses it.

    Raises :class:`EmbeddedPostgresError` when PostgreSQL refuses :data:`DROPS_MAX` times: an owner
    may not end an autovacuum worker, and must wait for it to leave.
    """
    script = f"DROP DATABASE IF EXISTS {_checked(name)} WITH (FORCE);\n"
    for attempt in range(1, DROPS_MAX + 1):
        try:
            run_sql(url=url_for(owner_url, "postgres"), script=script)
        except EmbeddedPostgresError:
            if attempt == DROPS_MAX:
                raise
            time.sleep(_DROP_PAUSE_S)
        else:
            return


def provision(*, superuser_url: str, passwords: Mapping[str, str]) -> None:
    """Make the two roles and the database, those that are not there yet.

    The owner may make databases (tests, benchmarks) and act as the application; the application
    gets nothing but what migrations grant it.
    """
    owner, application = _literal(passwords[OWNER]), _literal(passwords[APPLICATION])
    run_sql(
        url=url_for(superuser_url, "postgres"),
        script=f"""
            -- A refused statement is not to put a password into the log.
            SET log_min_error_statement = panic;
            SELECT format('CREATE ROLE {APPLICATION} LOGIN PASSWORD %L', {application})
                WHERE to_regrole('{APPLICATION}') IS NULL \\gexec
            SELECT format('CREATE ROLE {OWNER} LOGIN CREATEDB IN ROLE {APPLICATION}'
                ' PASSWORD %L', {owner})
                WHERE to_regrole('{OWNER}') IS NULL \\gexec
            SELECT statement FROM (VALUES
                    ('CREATE DATABASE {DATABASE} OWNER {OWNER}'),
                    ('REVOKE TEMPORARY ON DATABASE {DATABASE} FROM PUBLIC')
                ) AS missing (statement)
                WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{DATABASE}') \\gexec
        """,  # noqa: S608 - the names are constants and the passwords are quoted
    )


def url_for(url: str, database: str) -> str:
    """Return the URL with another database in its place."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()


def run_sql(*, url: str, script: str) -> str:
    """Run SQL statement by statement and return what it printed, without headings.

    The script goes in by standard input and the password by environment: neither shows in the
    system's list of processes. Raises :class:`EmbeddedPostgresError` at the first refusal.
    """
    address, password = _without_password(url)
    command: tuple[str | Path, ...] = (
        find_psql(), f"--dbname={address}", "--no-psqlrc", "--quiet", "--tuples-only",
        "--no-align", "--no-password", "--set=ON_ERROR_STOP=1", "--file=-",
    )  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            command,
            input=script,
            env={**os.environ, "PGPASSWORD": password, "PGCONNECT_TIMEOUT": "10"},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"psql could not finish: {error!r}."
        raise EmbeddedPostgresError(message) from error
    if done.returncode != 0:
        message = f"PostgreSQL refused: {done.stderr.strip()}"
        raise EmbeddedPostgresError(message)
    return done.stdout


def _without_password(url: str) -> tuple[str, str]:
    """Return the URL without its password, and the password."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    location = f"{user.partition(':')[0]}@{host}" if user else host
    return parts._replace(netloc=location).geturl(), unquote(parts.password or "")


def _literal(text: str) -> str:
    """Return an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _checked(name: str) -> str:
    """Return the name; it goes into SQL as it is, so it may be a plain word only."""
    if not _NAME.fullmatch(name):
        message = f"{name!r} is no name for a database: use small letters, digits and _."
        raise EmbeddedPostgresError(message)
    return name
