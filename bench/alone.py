"""One measurement by itself, ``python -m bench.<name>``, on a stage of its own."""

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

from bench.stage import Stage, open_stage
from wallet.settings import read_settings

T = TypeVar("T")


def measure_alone(
    name: str, about: str | None, measure: Callable[[Stage, bool], Coroutine[Any, Any, T]]
) -> T:
    """Read the command line, measure, and return what was found; the flag says ``--quick``."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=about)
    parser.add_argument("--quick", action="store_true", help="a smoke test; no figure means much")
    quick = parser.parse_args().quick
    folder = read_settings().data_directory / "bench-postgres"
    with open_stage(folder) as stage, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure(stage, quick))
