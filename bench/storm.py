"""Paying while passwords storm in: sign-ins are offered to the residents' plane beside the till.

Each sign-in is for an account that nobody has, from one of many networks, with a proof of its own:
it passes the same gate and costs the same hash as any other. The till gets the same load with and
without them, in turns.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import mean
from typing import Final

import msgspec
from joserfc.jwk import ECKey

from bench.generator import Job, Result
from bench.processes import output_of, python, say
from bench.proofs import make_proof
from bench.stage import Stage
from bench.till import Server, TillPart, open_plane
from wallet.core.clock import system_clock

OFFERED_PER_S: Final = 150
CONNECTIONS: Final = 240
PATH: Final = "/app/v1/sign-in/password"
CHECKED: Final = 401
"""The answer to a password that was checked and is wrong."""
FULL: Final = 429
"""The answer to whoever finds no room at the gate."""


@dataclass
class StormPart:
    """What the till's 95th percentile was, quiet and in the storm, and what became of sign-ins."""

    stage: Stage
    resident: Server
    cores: int
    quiet_p95_ms: list[float] = field(default_factory=list)
    storm_p95_ms: list[float] = field(default_factory=list)
    sign_ins: list[Result] = field(default_factory=list)
    failed_payments: int = 0

    @property
    def p95_ratio(self) -> float:
        """The till's 95th percentile in the storm over that without."""
        return mean(self.storm_p95_ms) / mean(self.quiet_p95_ms)

    @property
    def checked_per_s_and_core(self) -> float:
        """Passwords checked a second, by each core that the gate was given."""
        checked = sum(one.statuses.get(CHECKED, 0) for one in self.sign_ins)
        return checked / sum(one.seconds for one in self.sign_ins) / self.cores

    @property
    def refused_p99_ms(self) -> float:
        """How long 99 of 100 who found no room waited to hear so; the worst turn."""
        return max((one.p99_ms_by_status.get(FULL, 0.0) for one in self.sign_ins), default=0.0)

    async def take_turn(self, till: TillPart, *, rate_per_s: float, seconds: float) -> None:
        """Run the till alone for a while, and then in the storm."""
        quiet = await till.run_open_loop(rate_per_s=rate_per_s, seconds=seconds)
        self.quiet_p95_ms.append(quiet.p95_ms)
        stormy, sign_ins = await asyncio.gather(
            till.run_open_loop(rate_per_s=rate_per_s, seconds=seconds), self._offer(seconds)
        )
        self.storm_p95_ms.append(stormy.p95_ms)
        self.sign_ins.append(sign_ins)
        self.failed_payments += len(quiet.unfulfilled) + len(stormy.unfulfilled)
        say(
            f"till p95 {quiet.p95_ms:.1f} ms alone, {stormy.p95_ms:.1f} ms beside"
            f" {OFFERED_PER_S} sign-ins/s: {sign_ins.statuses}"
        )

    async def _offer(self, seconds: float) -> Result:
        count = int(OFFERED_PER_S * seconds)
        due_s = [number / OFFERED_PER_S for number in range(count)]
        requests = render_sign_ins(count)
        job = Job(self.resident.port, CONNECTIONS, requests, due_s, from_everywhere=True)
        path = self.stage.directory / "sign-ins"
        path.write_bytes(msgspec.msgpack.encode(job))
        printed = await output_of(python("bench.generator", path), os.environ)
        return msgspec.json.decode(printed, type=Result)


@asynccontextmanager
async def open_storm(stage: Stage) -> AsyncIterator[StormPart]:
    """Yield the part with the residents' plane running, its gate at half the cores."""
    async with open_plane(stage, "resident") as resident:
        yield StormPart(stage, resident, cores=max(1, (os.cpu_count() or 1) // 2))


def render_sign_ins(count: int) -> list[bytes]:
    """Return so many sign-ins as whole HTTP requests, each for an account of its own."""
    key = ECKey.generate_key("P-256")
    now_us = system_clock()
    return [_render(key, number, now_us) for number in range(count)]


def _render(key: ECKey, number: int, now_us: int) -> bytes:
    body = json.dumps(
        {
            "contact": {"kind": "email", "value": f"nobody-{now_us}-{number}@example.jp"},
            "password": "correct horse battery staple",
            "otp": "123456",
        }
    )
    proof = make_proof(key, path=PATH, body=body.encode(), access_token=None, now_us=now_us)
    return (
        f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ndpop: {proof}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    ).encode("ascii")
