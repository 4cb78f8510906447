"""Starts what is measured, counts its CPU time and memory, and stops it by its own pid."""

import asyncio
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Final

import psutil

READY_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 15.0
OUTPUT_TIMEOUT_S: Final = 180.0

_PORTS: Final = range(20_000, 30_000)
_POLL_S: Final = 0.1
_LOG_CHARACTERS: Final = 3_000


class BenchError(RuntimeError):
    """The benchmark cannot be carried out; the message says why."""


def say(line: str) -> None:
    """Tell whoever waits how it goes; standard output is for the report."""
    print(line, file=sys.stderr, flush=True)


def free_port() -> int:
    """Return a loopback port that nobody listens on right now.

    It is below those that systems give to outgoing connections, any of which could take it before
    the server does.
    """
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def cpu_s(pid: int) -> float:
    """Return the user and system CPU seconds of a process and of all it has started.

    The children's own times come first: one that ends meanwhile is then found in what its parent
    has reaped.
    """
    process = psutil.Process(pid)
    total_s = 0.0
    for one in (*process.children(recursive=True), process):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total_s += times.user + times.system + times.children_user + times.children_system
    return total_s


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process and its children, in MB of 2^20 bytes."""
    process = psutil.Process(pid)
    family = (process, *process.children(recursive=True))
    return float(sum(one.memory_info().rss for one in family)) / 2**20


async def output_of(command: Sequence[str | Path], environment: Mapping[str, str]) -> str:
    """Run a command to its end and return what it printed.

    Raises :class:`BenchError` with its own words when it fails or takes too long.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(OUTPUT_TIMEOUT_S):
            printed, complaints = await process.communicate()
    except TimeoutError:
        message = f"{command[0]} took longer than {OUTPUT_TIMEOUT_S:.0f} s"
        raise BenchError(message) from None
    finally:
        await _stop(process)
    if process.returncode != 0:
        message = f"{command[0]} failed:\n{complaints.decode(errors='replace')[-_LOG_CHARACTERS:]}"
        raise BenchError(message)
    return printed.decode()


@asynccontextmanager
async def running_server(
    command: Sequence[str | Path], *, port: int, environment: Mapping[str, str], log: Path
) -> AsyncIterator[int]:
    """Start an HTTP server, yield its pid once it takes connections, and stop it at the end."""
    with log.open("wb") as output:
        process = await _start(command, environment, output)
        try:
            if not await _listens(process, port):
                said = await asyncio.to_thread(log.read_text, errors="replace")
                message = f"{command[0]} does not listen; it said:\n{said[-_LOG_CHARACTERS:]}"
                raise BenchError(message)
            yield process.pid
        finally:
            await _stop(process)


async def _start(
    command: Sequence[str | Path], environment: Mapping[str, str], output: IO[bytes]
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=asyncio.subprocess.STDOUT,
    )


async def _listens(process: asyncio.subprocess.Process, port: int) -> bool:
    """Wait until the process takes connections; False when it does not, or has ended."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and process.returncode is None:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return True
        await asyncio.sleep(_POLL_S)
    return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End a process in good order, and by force when it takes too long."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def python(module: str, *arguments: str | Path) -> tuple[str | Path, ...]:
    """Return the command that runs a module with this interpreter."""
    return (sys.executable, "-m", module, *arguments)
