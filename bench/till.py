"""The whole till over HTTP: one server process, and a generator that keeps 64 connections busy."""

import os
import random
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.city import City, Register, Sale, render_sales
from bench.generator import Job, Result
from bench.processes import (
    cpu_s,
    free_port,
    output_of,
    python,
    running_server,
    say,
)
from bench.stage import Stage
from wallet.core.database import make_engine

CONNECTIONS: Final = 64
CONNECTIONS_OPEN: Final = 256
"""An open loop needs a connection for whatever is still unanswered."""

CONVENTIONAL_IS_SLOWER: Final = 10
"""About how many times; only used to warm it up for as long as the till."""


@dataclass
class Tally:
    """What several slices of the same kind add up to."""

    payments: int = 0
    seconds: float = 0.0
    server_cpu_s: float = 0.0
    generator_cpu_s: float = 0.0

    @property
    def per_s(self) -> float:
        """Payments a second."""
        return self.payments / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU of the server process and of PostgreSQL for one payment, in ms."""
        return self.server_cpu_s * 1000 / self.payments

    @property
    def generator_share(self) -> float:
        """The part of one core that the generator used."""
        return self.generator_cpu_s / self.seconds

    def add(self, result: Result, *, server_cpu_s: float) -> None:
        """Add one slice."""
        self.payments += result.answered
        self.seconds += result.seconds
        self.server_cpu_s += server_cpu_s
        self.generator_cpu_s += result.cpu_s


@dataclass
class Ledgered:
    """What the generator was told: payments that succeeded must be found in the database."""

    payments: int = 0
    amount_yen: int = 0
    unanswered: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Server:
    """A server under measurement."""

    name: str
    pid: int
    port: int


def arrivals(count: int, rate_per_s: float, *, seed: int = 1) -> list[float]:
    """Return the moments of a Poisson process, in seconds from its start.

    ``rate_per_s`` is its mean; the gaps are exponential and independent.
    """
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    return list(accumulate(rng.expovariate(rate_per_s) for _ in range(count)))


@dataclass
class Loader:
    """Draws payments, has the generator send them, and keeps count."""

    stage: Stage
    city: City
    engine: AsyncEngine
    ledgered: Ledgered = field(default_factory=Ledgered)

    async def run(
        self,
        server: Server,
        *,
        registers: Sequence[Register],
        payments: int,
        rate_per_s: float | None = None,
    ) -> tuple[Result, float]:
        """Send payments, in a closed loop unless a rate is given; return the server's CPU too."""
        sales = self.city.draw(payments, registers=registers)
        requests = await render_sales(self.engine, sales, pepper=self.stage.pepper.encode())
        if rate_per_s is None:
            job = Job(server.port, CONNECTIONS, requests)
        else:
            job = Job(server.port, CONNECTIONS_OPEN, requests, arrivals(payments, rate_per_s))
        path = self.stage.directory / "job"
        path.write_bytes(msgspec.msgpack.encode(job))
        before_s = self._cpu_s(server)
        printed = await output_of(python("bench.generator", path), os.environ)
        used_s = self._cpu_s(server) - before_s
        result = msgspec.json.decode(printed, type=Result)
        self._note(server, sales, result)
        return result, used_s

    def _cpu_s(self, server: Server) -> float:
        return cpu_s(server.pid) + cpu_s(self.stage.cluster.pid)

    def _note(self, server: Server, sales: Sequence[Sale], result: Result) -> None:
        """Count what succeeded; every payment was drawn to succeed, so a refusal is an error."""
        unfulfilled = set(result.unfulfilled)
        done = [sale.amount_yen for n, sale in enumerate(sales) if n not in unfulfilled]
        self.ledgered.payments += len(done)
        self.ledgered.amount_yen += sum(done)
        self.ledgered.unanswered += result.dropped
        self.ledgered.refused += len(unfulfilled) - result.dropped
        for sample in result.samples:
            say(f"{server.name} answered:\n{sample}")


@dataclass
class TillPart:
    """The till paid everywhere and in one shop, and the conventional endpoint in that shop."""

    loader: Loader
    till: Server
    conventional: Server
    uniform: Tally = field(default_factory=Tally)
    hot: Tally = field(default_factory=Tally)
    conventional_hot: Tally = field(default_factory=Tally)
    sizes: dict[str, int] = field(default_factory=dict)
    till_payments: int = 0

    def _kinds(self) -> Iterable[tuple[str, Server, Sequence[Register], Tally]]:
        everywhere, one_shop = self.loader.city.registers, self.loader.city.registers[:1]
        return (
            ("till", self.till, everywhere, self.uniform),
            ("till, one shop", self.till, one_shop, self.hot),
            ("conventional, one shop", self.conventional, one_shop, self.conventional_hot),
        )

    async def warm_up(self, *, slice_s: float, payments: int) -> None:
        """Let both servers get going, and find how many payments they take in ``slice_s``."""
        for name, server, registers, _ in self._kinds():
            count = payments if server is self.till else payments // CONVENTIONAL_IS_SLOWER
            result, _ = await self._run(f"{name}, warming up", server, registers, count)
            self.sizes[name] = max(CONNECTIONS, int(result.answered / result.seconds * slice_s))

    async def take_turn(self, *, backwards: bool) -> None:
        """Measure one slice of each kind, so that noise meets them alike.

        Whoever comes first finds the caches full of the yardstick's pages; that changes with
        ``backwards``.
        """
        kinds = tuple(self._kinds())
        for name, server, registers, tally in kinds[::-1] if backwards else kinds:
            result, used_s = await self._run(name, server, registers, self.sizes[name])
            tally.add(result, server_cpu_s=used_s)

    async def run_open_loop(self, *, rate_per_s: float, seconds: float) -> Result:
        """Let payments arrive at random at a mean rate, whatever the till does."""
        count = max(1, int(rate_per_s * seconds))
        registers = self.loader.city.registers
        result, _ = await self._run("till at half load", self.till, registers, count, rate_per_s)
        return result

    async def fill_up_to(self, payments: int) -> None:
        """Go on until the till's process has taken that many payments."""
        missing = payments - self.till_payments
        if missing > 0:
            await self._run("till, filling up", self.till, self.loader.city.registers, missing)

    async def _run(
        self,
        name: str,
        server: Server,
        registers: Sequence[Register],
        payments: int,
        rate_per_s: float | None = None,
    ) -> tuple[Result, float]:
        result, used_s = await self.loader.run(
            server, registers=registers, payments=payments, rate_per_s=rate_per_s
        )
        if server is self.till:
            self.till_payments += result.answered
        say(
            f"{name}: {result.answered / result.seconds:,.0f} payments/s,"
            f" p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms"
        )
        return result, used_s


@asynccontextmanager
async def open_till(stage: Stage, city: City) -> AsyncIterator[TillPart]:
    """Yield the part, ready to warm up, with both servers running."""
    engine = make_engine(stage.application_url, pool_size=2, application_name="bench-codes")
    try:
        async with open_plane(stage, "till") as till, _conventional(stage) as conventional:
            yield TillPart(Loader(stage, city, engine), till, conventional)
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_plane(stage: Stage, plane: str) -> AsyncIterator[Server]:
    """Yield one of the product's planes in a process of its own."""
    port = free_port()
    wallet = Path(sys.executable).with_name("wallet")
    async with running_server(
        (wallet, "serve", "--plane", plane, "--port", str(port)),
        port=port,
        environment=_environment(stage),
        log=stage.directory / f"{plane}.log",
    ) as pid:
        yield Server(plane, pid, port)


@asynccontextmanager
async def _conventional(stage: Stage) -> AsyncIterator[Server]:
    """The same uvicorn settings as the till's."""
    port = free_port()
    async with running_server(
        python(
            "uvicorn", "bench.conventional:application", f"--port={port}", "--loop=uvloop",
            "--http=httptools", "--no-access-log", "--no-proxy-headers", "--no-server-header",
            "--log-level=warning", "--backlog=2048",
        ),
        port=port,
        environment=_environment(stage),
        log=stage.directory / "conventional.log",
    ) as pid:  # fmt: skip
        yield Server("conventional", pid, port)


def _environment(stage: Stage) -> Mapping[str, str]:
    """The settings of whoever runs this are left out: the till is measured as it comes."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WALLET_")}
    return {
        **inherited,
        "DATABASE_URL": stage.application_url,
        "DATABASE_OWNER_URL": stage.owner_url,
        "WALLET_PEPPER": stage.pepper,
    }
