"""The data folder: the cluster, its passwords, its port, and the lock around all changes to it.

::

    .data/postgres/
        cluster/          PostgreSQL's data directory (or a link to it, see below)
        socket/           the unix socket
        server.log        what the server says
        passwords.json    readable by whoever runs this only
        port              the port of the last start
        lock              held while the server is started or stopped

When root runs this from a folder that the server's user may not enter (a checkout below
``/root``), cluster, socket and log live in root's own folder and ``cluster`` is a link to there.
"""

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wallet.core.embedded.binaries import make_system_directory
from wallet.core.embedded.errors import EmbeddedPostgresError
from wallet.core.embedded.identity import Identity

SUPERUSER: Final = "postgres"
OWNER: Final = "wallet_owner"
APPLICATION: Final = "wallet_app"
ROLES: Final = (SUPERUSER, OWNER, APPLICATION)

_LOG_BYTES_MAX: Final = 16 * 1024 * 1024
_LOCK_POLL_S: Final = 0.05


@dataclass(frozen=True)
class Folder:
    """A data folder by its path; nothing is read or made before it is asked for."""

    path: Path

    @property
    def cluster(self) -> Path:
        """PostgreSQL's data directory itself, links followed."""
        return (self.path / "cluster").resolve()

    @property
    def socket(self) -> Path:
        """The folder of the unix socket."""
        return self.cluster.parent / "socket"

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.cluster.parent / "server.log"

    @property
    def passwords(self) -> Path:
        """The file of all passwords."""
        return self.path / "passwords.json"

    def make(self) -> None:
        """Make the folder itself; the server's user may pass through it but not look around."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == self.path.stat().st_uid:
                self.path.chmod(0o711)
        except OSError as error:
            message = f"The data folder {self.path} cannot be made: {error.strerror}."
            raise EmbeddedPostgresError(message) from error

    def place(self, identity: Identity) -> None:
        """Decide where the cluster lives, once: here, or where the server's user can reach."""
        link = self.path / "cluster"
        if link.exists() or link.is_symlink():
            self.cluster.parent.mkdir(mode=0o711, exist_ok=True)
        elif not identity.reaches(self.path):
            place = make_system_directory() / f"cluster-{secrets.token_hex(4)}"
            place.mkdir(mode=0o711)
            link.symlink_to(place / "cluster")

    def prepare(self, identity: Identity) -> None:
        """Make the socket's folder and the log, both for the server's user.

        Call while no server runs. The socket's folder is ours alone and made anew: its lock file
        outlives a crash as the pid file does, and would refuse a start in the same way.
        """
        shutil.rmtree(self.socket, ignore_errors=True)
        self.socket.mkdir(mode=0o700)
        identity.own(self.socket)
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o600)
        identity.own(self.log)

    def remember_port(self, port: int) -> None:
        """Keep the port for the next start."""
        _write_whole(self.path / "port", f"{port}\n")

    def remembered_port(self) -> int | None:
        """Return the port of the last start, None when there is none or it is no number."""
        try:
            return int((self.path / "port").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def make_passwords(self) -> None:
        """Write random passwords, unless they are there already."""
        if not self.passwords.exists():
            made = {role: secrets.token_urlsafe(32) for role in ROLES}
            _write_whole(self.passwords, json.dumps(made, indent=2) + "\n")

    def read_passwords(self) -> dict[str, str]:
        """Return the password of each role.

        Raises :class:`EmbeddedPostgresError` when the file is lost, unreadable or broken.
        """
        try:
            found = json.loads(self.passwords.read_text())
            return {role: str(found[role]) for role in ROLES}
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = (
                f"{self.passwords} cannot be read ({error!r}), and nobody can log in without it."
                " Put it back from a backup, or move the whole folder away to begin anew."
            )
            raise EmbeddedPostgresError(message) from error

    def clear_unfinished(self) -> Path:
        """Return an empty path for ``initdb``, rid of what an interrupted one left."""
        unfinished = self.cluster.parent / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        return unfinished

    @contextmanager
    def locked(self, *, timeout_s: float) -> Iterator[None]:
        """Hold the folder against every other process that starts or stops its server."""
        deadline = time.monotonic() + timeout_s
        with (self.path / "lock").open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        message = f"Another process has held {self.path}/lock for {timeout_s:.0f} s"
                        raise EmbeddedPostgresError(message) from error
                    time.sleep(_LOCK_POLL_S)
            yield


def _write_whole(path: Path, text: str) -> None:
    """Write a file that is either all there or not at all, readable by its owner only."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
