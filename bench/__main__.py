"""``python -m bench``: run, print a table for people, and one JSON object as the last line.

It measures and is no test: the exit status is 0 even when a target is missed, 1 when the money
does not add up or anything was refused, 2 when the benchmark could not be carried out.
"""

import argparse
import asyncio
import fcntl
import json
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console

import bench
from bench.processes import BenchError
from bench.report import figures_of, flaws_of, table_of
from bench.run import FULL, QUICK, Measured, run
from bench.stage import open_stage
from wallet.core.embedded import EmbeddedPostgresError
from wallet.settings import read_settings

PARTS: Final = ("ledger", "till")
CANNOT: Final = 2
INTERRUPTED: Final = 130

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Carry out one run and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=bench.__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test of half a minute")
    parser.add_argument("--only", choices=PARTS, help="one part instead of both")
    asked = parser.parse_args()
    for number in _SIGNALS:
        signal.signal(number, _interrupt_once)
    try:
        with _alone(read_settings().data_directory / "bench-postgres") as folder:
            measured = _measure(folder, quick=asked.quick, only=asked.only)
    except (BenchError, EmbeddedPostgresError) as error:
        sys.stderr.write(f"{error}\n")
        return CANNOT
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; everything that was started has been stopped\n")
        return INTERRUPTED
    return report(measured, quick=asked.quick)


def _measure(folder: Path, *, quick: bool, only: str | None) -> Measured:
    parts = frozenset(part for part in PARTS if only in {None, part})
    with open_stage(folder) as stage, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        # On the event loop that the till has, for the ledger's part runs in this process.
        plan = QUICK if quick else FULL
        return runner.run(_until_interrupted(run(stage, plan, parts=parts)))


async def _until_interrupted(work: Coroutine[Any, Any, Measured]) -> Measured:
    """Await the work; a signal cancels it, once, and what undoes it is not interrupted again.

    An exception out of a signal's handler may come up where nobody hears it, such as in a
    destructor; a cancellation never does.
    """
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)

    def cancel_once() -> None:
        for number in _SIGNALS:
            loop.add_signal_handler(number, lambda: None)
        task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, cancel_once)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


def report(measured: Measured, *, quick: bool) -> int:
    """Print the table and the JSON; return 0 when the money adds up, else 1."""
    figures: dict[str, Any] = figures_of(measured)
    flaws = flaws_of(figures)
    console = Console()
    console.print(table_of(figures))
    console.print(
        f"pgbench {figures['pgbench_tps']:,.0f} transactions/s,"
        f" flush {figures['fdatasync_us']:,.0f} µs, {os.cpu_count()} cores,"
        f" {figures['seconds']:.0f} s",
        highlight=False,
    )
    if quick:
        console.print("This was a smoke test: no figure means anything.")
    for flaw in flaws:
        console.print(f"NOT TO BE TRUSTED: {flaw}.")
    print(json.dumps({**figures, "quick": quick, "flaws": flaws}, ensure_ascii=False))
    return 0 if measured.books is not None and measured.books.ok else 1


def _interrupt_once(number: int, frame: object) -> None:
    """End the run in good order; what undoes it is not to be interrupted again."""
    del number, frame
    for one in _SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """Hold the folder against a second benchmark: each would measure the other."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".user").open("a") as user:
        try:
            fcntl.flock(user, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = "another benchmark is running here"
            raise BenchError(message) from None
        yield folder


if __name__ == "__main__":
    sys.exit(main())
