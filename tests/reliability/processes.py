"""Processes that a test may kill: tills, and everything a PostgreSQL consists of."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

import psutil

from tests.factories.moments import PEPPER
from tests.servers import ROOT

HOST: Final = "127.0.0.1"
SERVE: Final = (str(Path(sys.executable).with_name("wallet")), "serve")
"""The command line's own till, as operations starts it."""

READY_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.02
_LOG_CHARACTERS: Final = 3_000

# Below the range of outgoing connections: while a till is down its port stays its own, and no
# client that knocks there can be connected to itself.
_PORTS: Final = range(18_000, 19_000)


class Till:
    """A till in a process of its own, on a port that it keeps when it is started again."""

    def __init__(self, *, database_url: str, log: Path, command: Sequence[str] = SERVE) -> None:
        self.port = free_port()
        self.base_url = f"http://{HOST}:{self.port}"
        self._command = (*command, "--port", str(self.port))
        self._log = log
        self._environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "WALLET_PEPPER": PEPPER.decode(),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while not is_alive(self.port):
            ended = self._process.poll() is not None
            assert not ended, f"the till did not start:\n{self.said()}"
            assert time.monotonic() < deadline_s, f"the till is not ready:\n{self.said()}"
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """End it as a power cut would: now, and without a word."""
        assert self._process is not None
        self._process.kill()
        assert self._process.wait(STOP_TIMEOUT_S) == -signal.SIGKILL, self.said()

    def wait_for_death(self) -> None:
        """Wait until it has killed itself, which is what it was started for."""
        assert self._process is not None
        assert self._process.wait(STOP_TIMEOUT_S) == -signal.SIGKILL, self.said()

    def close(self) -> None:
        """Stop it in good order, if it still runs."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        finally:
            self._process.kill()
            self._process.wait()

    def said(self) -> str:
        """Return the end of what it has printed."""
        return self._log.read_text(errors="replace")[-_LOG_CHARACTERS:]


@contextmanager
def running_till(*, database_url: str, log: Path, command: Sequence[str] = SERVE) -> Iterator[Till]:
    """Yield a till that answers; whatever has become of it meanwhile, it is gone afterwards."""
    till = Till(database_url=database_url, log=log, command=command)
    try:
        till.start()
        yield till
    finally:
        till.close()


def is_alive(port: int) -> bool:
    """Whether a till on the port says that it is alive."""
    connection = HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    """Return a loopback port that nobody listens on; tests side by side try different ones."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    message = f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free"
    raise RuntimeError(message)


def family_of(postmaster_pid: int) -> list[int]:
    """Return the pids of a postmaster's children: backends, writers, workers."""
    return [child.pid for child in psutil.Process(postmaster_pid).children(recursive=True)]


def kill_at_once(pids: Sequence[int]) -> None:
    """Kill processes; who is gone already is what was wanted."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
