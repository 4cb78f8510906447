"""What this machine can do: pgbench's TPC-B on the same server, and how long a flush takes.

pgbench is the yardstick because everybody has it and knows its transaction: three updates, one
select and one insert, each client waiting for its own commit.
"""

import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import unquote, urlsplit

from bench.processes import BenchError, output_of

SCALE: Final = 50
CLIENTS: Final = 16
THREADS: Final = 2

FLUSHES: Final = 300
BLOCK_BYTES: Final = 8_192
"""PostgreSQL writes its log by blocks of this size."""

_TPS: Final = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)


async def fill(programs: Path, url: str, *, scale: int = SCALE) -> None:
    """Make pgbench's tables in the database, ``scale`` times 100,000 accounts."""
    await output_of(
        (programs / "pgbench", "--initialize", "--quiet", f"--scale={scale}", *_address(url)),
        _environment(url),
    )


async def measure_tps(programs: Path, url: str, *, seconds: int) -> float:
    """Return transactions a second of TPC-B with prepared statements, connecting not counted."""
    printed = await output_of(
        (
            programs / "pgbench", "--builtin=tpcb-like", "--protocol=prepared", "--no-vacuum",
            f"--client={CLIENTS}", f"--jobs={THREADS}", f"--time={seconds}", *_address(url),
        ),
        _environment(url),
    )  # fmt: skip
    found = _TPS.search(printed)
    if found is None:
        message = f"pgbench printed no tps:\n{printed}"
        raise BenchError(message)
    return float(found[1])


def measure_fdatasync_us(directory: Path) -> float:
    """Return the median microseconds to append a block and flush it, on ``directory``'s disk."""
    block, taken_us = b"\0" * BLOCK_BYTES, []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(FLUSHES):
            started_at = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            taken_us.append((time.perf_counter() - started_at) * 1e6)
    return median(taken_us)


def _address(url: str) -> tuple[str, ...]:
    parts = urlsplit(url)
    return (
        f"--host={parts.hostname}",
        f"--port={parts.port}",
        f"--username={parts.username}",
        parts.path.removeprefix("/"),
    )


def _environment(url: str) -> Mapping[str, str]:
    """The password goes by the environment, where the list of processes does not show it."""
    return {**os.environ, "PGPASSWORD": unquote(urlsplit(url).password or "")}
