"""Who the server runs as: PostgreSQL refuses to be root, so root hands it to a plain user."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wallet.core.embedded.errors import EmbeddedPostgresError

SYSTEM_USER: Final = "wallet-postgres"
"""Made on first use by root; a user of its own, so that no other service can read the money."""

_FALLBACK_USERS: Final = ("postgres", "nobody")
_MESSAGE_CHARACTERS_MAX: Final = 2_000
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The user that owns the cluster; ``switch`` says whether that is somebody else than we."""

    user_id: int
    group_id: int
    switch: bool

    def run(
        self, command: Sequence[str | Path], *, timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as this user and return what it printed, whatever its exit status.

        Raises :class:`EmbeddedPostgresError` when it cannot be run or outlasts ``timeout_s``.
        """
        try:
            return subprocess.run(  # noqa: S603 - our own commands, never a shell string
                command,
                user=self.user_id if self.switch else None,
                group=self.group_id if self.switch else None,
                extra_groups=[] if self.switch else None,
                cwd="/",
                env={"PATH": _PATH, "LC_ALL": "C", "TZ": "UTC"},
                umask=0o077,
                stdin=subprocess.DEVNULL,
                # Both in one pipe is safe: the server itself writes to its log file only.
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            message = f"{Path(command[0]).name} was still running after {timeout_s:.0f} s."
            raise EmbeddedPostgresError(message) from error
        except OSError as error:
            message = f"{command[0]} cannot be run: {error.strerror}."
            raise EmbeddedPostgresError(message) from error

    def require(self, command: Sequence[str | Path], *, timeout_s: float) -> None:
        """Run a command that must succeed; the error carries the last of what it printed."""
        done = self.run(command, timeout_s=timeout_s)
        if done.returncode != 0:
            said = done.stdout.strip()[-_MESSAGE_CHARACTERS_MAX:]
            message = f"{Path(command[0]).name} failed: {said}"
            raise EmbeddedPostgresError(message)

    def reaches(self, path: Path) -> bool:
        """Whether this user can enter the folder; asked of the system, so that ACLs count too."""
        if not self.switch:
            return True
        command = ("/bin/sh", "-c", 'cd -- "$1"', "sh", path)
        return self.run(command, timeout_s=10).returncode == 0

    def own(self, path: Path) -> None:
        """Give the path to this user."""
        if self.switch:
            os.chown(path, self.user_id, self.group_id)


def identity_for(cluster: Path) -> Identity:
    """Return who runs the server: we ourselves, or a plain user when we are root.

    An existing cluster keeps its owner, so it starts again whatever users have come since.
    Raises :class:`EmbeddedPostgresError` when the cluster belongs to another user.
    """
    owner = cluster.stat() if cluster.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner.st_uid != os.geteuid():
            message = f"{cluster} belongs to user {owner.st_uid}: run this as root or as that user."
            raise EmbeddedPostgresError(message)
        return Identity(user_id=os.geteuid(), group_id=os.getegid(), switch=False)
    if owner is not None:
        return Identity(user_id=owner.st_uid, group_id=owner.st_gid, switch=True)
    return _plain_user()


def _plain_user() -> Identity:
    for name in (SYSTEM_USER, *_FALLBACK_USERS):
        if name == SYSTEM_USER:
            _make_system_user()
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Identity(user_id=entry.pw_uid, group_id=entry.pw_gid, switch=True)
    message = (
        "PostgreSQL does not run as root and there is no other user to run it as:"
        f" add one with `useradd --system {SYSTEM_USER}`, or run this as a normal user."
    )
    raise EmbeddedPostgresError(message)


def _make_system_user() -> None:
    """Add the user where the system can; where it cannot, one of the fallbacks serves."""
    useradd = shutil.which("useradd", path=f"{_PATH}:/usr/sbin:/sbin")
    if useradd is None:
        return
    command = (
        useradd, "--system", "--user-group", "--no-create-home",
        "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", SYSTEM_USER,
    )  # fmt: skip
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        subprocess.run(command, capture_output=True, timeout=30, check=False)  # noqa: S603
