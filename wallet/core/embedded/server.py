"""Start, stop and look at the embedded server."""

import logging
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from wallet.core.embedded.binaries import find_programs
from wallet.core.embedded.databases import DATABASE, provision
from wallet.core.embedded.errors import EmbeddedPostgresError
from wallet.core.embedded.folder import APPLICATION, OWNER, SUPERUSER, Folder
from wallet.core.embedded.identity import Identity, identity_for
from wallet.core.embedded.process import (
    LOOPBACK,
    Postmaster,
    choose_port,
    find_postmaster,
    is_free,
    remove_stale_pid_file,
    wait_until_settled,
)

logger = logging.getLogger(__name__)

DEFAULT_DATA_DIRECTORY: Final = Path(".data", "postgres")

_SETTINGS: Final[Mapping[str, str]] = {
    # Durability (fsync, full_page_writes, synchronous_commit) stays at PostgreSQL's defaults.
    "listen_addresses": LOOPBACK,
    "max_connections": "100",
    "shared_buffers": "256MB",
    # A sale writes gigabytes in minutes; with the default of 1 GB it would be one long checkpoint.
    "max_wal_size": "4GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %q%u@%d/%a ",
}

_SOCKET_PATH_BYTES_MAX: Final = 103
"""The shortest of the systems' limits (macOS); Linux has four bytes more."""

_START_ATTEMPTS_MAX: Final = 3
_INITDB_TIMEOUT_S: Final = 180.0
_LOG_TAIL_CHARACTERS: Final = 1_500


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A running server: how to reach it and where it keeps its things.

    ``owner_url`` runs migrations, ``application_url`` is the application's; both name the
    database ``wallet``. ``socket_directory`` is None where the path is too long for a socket.
    """

    # With passwords in them, so they stay out of logs and tracebacks.
    owner_url: str = field(repr=False)
    application_url: str = field(repr=False)
    superuser_url: str = field(repr=False)
    port: int
    pid: int
    socket_directory: Path | None
    bin_directory: Path
    data_directory: Path
    log_file: Path


def start(*, data_directory: Path = DEFAULT_DATA_DIRECTORY, timeout_s: float = 300.0) -> Cluster:
    """Start the server, making the cluster on first use; a running one is returned as it is.

    ``timeout_s`` bounds the wait for recovery after a crash. Raises
    :class:`EmbeddedPostgresError` with what to do when it cannot be started.
    """
    folder = Folder(data_directory.resolve())
    folder.make()
    with _explained(folder.path), folder.locked(timeout_s=timeout_s):
        identity = identity_for(folder.cluster)
        folder.place(identity)
        programs = find_programs(identity)
        _make_cluster(folder, identity, programs)
        running = wait_until_settled(folder.cluster, timeout_s=timeout_s)
        if running is None:
            running = _launch(folder, identity, programs, timeout_s=timeout_s)
        cluster = _describe(folder, running, programs)
        provision(superuser_url=cluster.superuser_url, passwords=folder.read_passwords())
    return cluster


def stop(*, data_directory: Path = DEFAULT_DATA_DIRECTORY, timeout_s: float = 60.0) -> bool:
    """Stop the server in good order; open connections are ended, what is committed stays.

    Returns whether there was one to stop. Raises :class:`EmbeddedPostgresError` when it does
    not end within ``timeout_s``.
    """
    folder = Folder(data_directory.resolve())
    if not folder.path.exists():
        return False
    with _explained(folder.path), folder.locked(timeout_s=timeout_s):
        if find_postmaster(folder.cluster) is None:
            return False
        identity = identity_for(folder.cluster)
        programs = find_programs(identity)
        identity.require(
            (
                programs / "pg_ctl", "stop", "-D", folder.cluster,
                "-m", "fast", "-w", "-t", str(int(timeout_s)),
            ),
            timeout_s=timeout_s + 5,
        )  # fmt: skip
    return True


def status(*, data_directory: Path = DEFAULT_DATA_DIRECTORY) -> Cluster | None:
    """Return the running server that takes connections, None when there is none."""
    folder = Folder(data_directory.resolve())
    running = find_postmaster(folder.cluster)
    if running is None or not running.ready:
        return None
    return _describe(folder, running, find_programs(identity_for(folder.cluster)))


def _make_cluster(folder: Folder, identity: Identity, programs: Path) -> None:
    """Run ``initdb`` beside the final place and rename: a cluster is whole or not there."""
    if folder.cluster.exists():
        return
    folder.make_passwords()
    unfinished = folder.clear_unfinished()
    unfinished.mkdir(mode=0o700)
    identity.own(unfinished)
    password_file = unfinished.with_suffix(".password")
    password_file.touch(mode=0o600)
    try:
        password_file.write_text(folder.read_passwords()[SUPERUSER] + "\n")
        identity.own(password_file)
        identity.require(
            (
                programs / "initdb", "-D", unfinished, f"--username={SUPERUSER}",
                f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8",
                "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
            ),
            timeout_s=_INITDB_TIMEOUT_S,
        )  # fmt: skip
    finally:
        password_file.unlink()
    unfinished.rename(folder.cluster)


def _launch(folder: Folder, identity: Identity, programs: Path, *, timeout_s: float) -> Postmaster:
    """Start the server and wait until it takes connections."""
    remove_stale_pid_file(folder.cluster)
    folder.prepare(identity)
    for _ in range(_START_ATTEMPTS_MAX):
        port = _settle_port(folder)
        done = identity.run(
            (
                programs / "pg_ctl", "start", "-D", folder.cluster, "-l", folder.log,
                "-o", _options(folder, port), "-w", "-t", str(int(timeout_s)),
            ),
            timeout_s=timeout_s + 5,
        )  # fmt: skip
        running = find_postmaster(folder.cluster)
        if done.returncode == 0 and running is not None:
            return running
        # Only a port that somebody took between our look and the server's is worth another try.
        if running is not None or is_free(port):
            raise EmbeddedPostgresError(_why_not_started(folder, running))
    raise EmbeddedPostgresError(_why_not_started(folder, None))


def _settle_port(folder: Folder) -> int:
    """Return the port of the last start, or another one, said aloud, when that is taken."""
    remembered = folder.remembered_port()
    port = choose_port(remembered)
    if remembered is not None and port != remembered:
        logger.warning("port %d is taken by another program; using %d", remembered, port)
    folder.remember_port(port)
    return port


def _options(folder: Folder, port: int) -> str:
    """Return the server's command line; given at each start, it wins over every file."""
    settings = {
        **_SETTINGS,
        "port": str(port),
        "unix_socket_directories": str(_socket_directory(folder, port) or ""),
    }
    return shlex.join([word for item in settings.items() for word in ("-c", "=".join(item))])


def _socket_directory(folder: Folder, port: int) -> Path | None:
    path = folder.socket / f".s.PGSQL.{port}"
    return folder.socket if len(bytes(path)) <= _SOCKET_PATH_BYTES_MAX else None


def _why_not_started(folder: Folder, running: Postmaster | None) -> str:
    if running is not None:
        return (
            "PostgreSQL is still recovering what was committed before a crash."
            f" Leave it to finish (see {folder.log}), then start again."
        )
    tail = folder.log.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:]
    return f"PostgreSQL did not start; {folder.log} ends with:\n{tail}"


def _describe(folder: Folder, running: Postmaster, programs: Path) -> Cluster:
    urls = {
        role: f"postgresql://{role}:{quote(password, safe='')}@{LOOPBACK}:{running.port}/{DATABASE}"
        for role, password in folder.read_passwords().items()
    }
    return Cluster(
        owner_url=urls[OWNER],
        application_url=urls[APPLICATION],
        superuser_url=urls[SUPERUSER],
        port=running.port,
        pid=running.pid,
        socket_directory=_socket_directory(folder, running.port),
        bin_directory=programs,
        data_directory=folder.path,
        log_file=folder.log,
    )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn whatever the system refuses into the one error, with the folder it is about."""
    try:
        yield
    except OSError as error:
        message = (
            f"The data folder {path} cannot be used: {error}."
            " Run this as the user who made it, or name another folder."
        )
        raise EmbeddedPostgresError(message) from error
