"""What the hash gate lets through: passwords checked a second, and how fast the rest hears no.

Callers come at a steady rate whatever becomes of those before them, each with a password that is
wrong for a hash of the real cost. No database is asked: this is the gate by itself.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

from wallet.auth.hash_gate import GateFullError, HashCost, HashGate

OFFERED_PER_S: Final = 150
SECONDS: Final = 5.0

DONE_PER_S_TARGET: Final = 40
REFUSED_MS_TARGET: Final = 50


@dataclass(kw_only=True)
class Gated:
    """What came of the callers; times in milliseconds from coming to going."""

    workers: int
    seconds: float = 0.0
    done_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)

    @property
    def done_per_s(self) -> float:
        """Passwords checked a second by each of the gate's threads, so by each core given to it."""
        return len(self.done_ms) / self.seconds / self.workers

    @property
    def refused_p99_ms(self) -> float:
        """How long 99 of 100 who were refused waited for it; 0 when nobody was."""
        return percentile(self.refused_ms, 99)


async def measure_gate(
    *, offered_per_s: float = OFFERED_PER_S, seconds: float = SECONDS, workers: int | None = None
) -> Gated:
    """Offer the gate so many callers a second for so long, and wait until all have gone."""
    gate = HashGate(cost=HashCost(), workers=workers)
    try:
        async with gate.place() as place:
            encoded = await place.hash("the right one")
        gated = Gated(workers=gate.workers)
        started_at = time.perf_counter()
        async with asyncio.TaskGroup() as callers:
            for number in range(int(offered_per_s * seconds)):
                due_at = started_at + number / offered_per_s
                await asyncio.sleep(max(due_at - time.perf_counter(), 0))
                callers.create_task(_call(gate, encoded, gated))
        gated.seconds = time.perf_counter() - started_at
    finally:
        gate.close()
    return gated


def percentile(values: list[float], percent: int) -> float:
    """Return the value that ``percent`` of the values do not exceed; 0 for no values."""
    ordered = sorted(values)
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)] if ordered else 0.0


async def _call(gate: HashGate, encoded: str, gated: Gated) -> None:
    came_at, times = time.perf_counter(), gated.done_ms
    try:
        async with gate.place() as place:
            await place.verify(encoded, "a wrong one")
    except GateFullError:
        times = gated.refused_ms
    times.append((time.perf_counter() - came_at) * 1_000)


if __name__ == "__main__":
    found = asyncio.run(measure_gate())
    print(
        f"{found.done_per_s:.1f} passwords a second and core (target {DONE_PER_S_TARGET}),"
        f" {len(found.refused_ms)} of {len(found.refused_ms) + len(found.done_ms)} refused,"
        f" within {found.refused_p99_ms:.1f} ms (target {REFUSED_MS_TARGET})"
    )
