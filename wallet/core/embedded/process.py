"""The running server as the system sees it: its pid file, its process, its port."""

import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from wallet.core.embedded.errors import EmbeddedPostgresError

LOOPBACK: Final = "127.0.0.1"

# Below the range that systems hand out to outgoing connections, so that a port remembered
# today is not somebody's outgoing connection tomorrow.
_PORTS: Final = range(15_432, 15_532)

_ORPHANS_WAIT_S: Final = 15.0
_POLL_S: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class Postmaster:
    """A live server of a cluster; ``ready`` once it takes connections."""

    pid: int
    port: int
    ready: bool


def find_postmaster(cluster: Path) -> Postmaster | None:
    """Return the cluster's running server, None when it is stopped, dead, or not it at all.

    The pid file alone proves nothing: it outlives a crash, and its number may be another
    process's by then. A server works in its data directory, and that tells it apart.
    """
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None
    if not _works_in(pid, cluster):
        return None
    # Lines as PostgreSQL's miscadmin.h numbers them: 1 pid, 4 port, 8 status.
    port = int(lines[3]) if len(lines) > 3 and lines[3].isdigit() else 0  # noqa: PLR2004
    ready = len(lines) > 7 and lines[7].strip() == "ready"  # noqa: PLR2004
    return Postmaster(pid=pid, port=port, ready=ready)


def wait_until_settled(cluster: Path, *, timeout_s: float) -> Postmaster | None:
    """Return the running server once it is ready, None once there is none.

    One that is still starting or stopping is waited for; raises :class:`EmbeddedPostgresError`
    when that takes longer than ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while (running := find_postmaster(cluster)) is not None and not running.ready:
        if time.monotonic() > deadline:
            message = (
                f"PostgreSQL (process {running.pid}) is neither ready nor gone yet; try later."
            )
            raise EmbeddedPostgresError(message)
        time.sleep(_POLL_S)
    return running


def remove_stale_pid_file(cluster: Path) -> None:
    """Remove the pid file of a server that is gone, once its last backend is gone too.

    PostgreSQL takes any live process of that number for its server and would refuse to start.
    Call only when :func:`find_postmaster` found nothing. Raises :class:`EmbeddedPostgresError`
    when backends of the old server do not end: two servers on one cluster would destroy it.
    """
    pid_file = cluster / "postmaster.pid"
    if not pid_file.exists():
        return
    deadline = time.monotonic() + _ORPHANS_WAIT_S
    while pids := _processes_in(cluster):
        if time.monotonic() > deadline:
            message = (
                f"Processes {', '.join(map(str, pids))} of an earlier server still work in"
                f" {cluster}. End them, then start again."
            )
            raise EmbeddedPostgresError(message)
        time.sleep(_POLL_S)
    pid_file.unlink(missing_ok=True)


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As PostgreSQL does: connections of a server just stopped do not keep its port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose_port(remembered: int | None) -> int:
    """Return the remembered port if it is free, else the first free one of our range."""
    if remembered is not None and is_free(remembered):
        return remembered
    for port in _PORTS:
        if is_free(port):
            return port
    message = f"All ports from {_PORTS.start} to {_PORTS.stop - 1} are taken on {LOOPBACK}."
    raise EmbeddedPostgresError(message)


def _works_in(pid: int, cluster: Path) -> bool:
    try:
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and process.name() == "postgres" and Path(process.cwd()) == cluster
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _processes_in(cluster: Path) -> list[int]:
    return [pid for pid in psutil.pids() if _works_in(pid, cluster)]
