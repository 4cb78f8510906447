"""How fast a benefit is given while the till is half busy, and what the till notices of it.

``python -m bench.grants``: rosters of 70,000 wallets are imported, approved, and worked off by
``wallet benefit grant`` in a process of its own, once by itself and once beside a till to which
payments arrive at random at half the rate that it takes alone. Beside the till, what is granted
is counted from the first payment to the last, so that the whole of the till's 99th percentile is
from while grants were made. Nothing but real requests and real commits.
"""

import asyncio
import json
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Final
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bench.alone import measure_alone
from bench.city import render_sales, seed_city
from bench.generator import Job, Result
from bench.processes import BenchError, cpu_s, output_of, python, say
from bench.stage import Stage, checkpoint
from bench.till import CONNECTIONS_OPEN, Loader, Server, arrivals, open_plane
from wallet.benefits.import_roster import Wanted, import_roster
from wallet.benefits.queries import add_up, find_run
from wallet.benefits.read_roster import read_roster
from wallet.benefits.steer_run import approve_run, payload_of
from wallet.core.clock import japanese_day, system_clock
from wallet.core.database import make_engine, read, write
from wallet.core.ids import new_id, public_id
from wallet.ledger.bulk import bulk_teller
from wallet.people.open_wallets import NewWallet, open_wallets
from wallet.programmes.create_programme import create_programme
from wallet.programmes.rules import Spending
from wallet.programmes.terms import Kind, ProgrammeDraft

TARGET_PER_S: Final = 3_000

BENEFIT: Final = "bench-benefit"
YEN: Final = 10_000


@dataclass(frozen=True)
class Size:
    """How much of everything; ``half_s``: how long the till is measured at half load."""

    wallets: int
    payers: int
    shops: int
    warm_up: int
    half_s: float


WHOLE: Final = Size(wallets=70_000, payers=10_000, shops=500, warm_up=6_000, half_s=10.0)
QUICK: Final = Size(wallets=40, payers=200, shops=20, warm_up=64, half_s=0.2)

_GRANTED: Final = text("SELECT count(*)::int FROM benefit_grant WHERE state = 'granted'")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured."""

    wallets: int
    alone_per_s: float
    beside_per_s: float
    cpu_ms: float
    import_s: float
    till_per_s: float
    half_per_s: float
    p99_ms: float
    p99_beside_ms: float

    def as_dict(self) -> dict[str, float]:
        """Return the figures by their JSON keys."""
        return {
            "grants": self.wallets,
            "grants_per_s": round(self.alone_per_s),
            "grants_per_s_beside_the_till": round(self.beside_per_s),
            "grants_beside_over_alone": round(self.beside_per_s / self.alone_per_s, 3),
            "grant_cpu_ms": round(self.cpu_ms, 3),
            "roster_import_s": round(self.import_s, 2),
            "till_payments_per_s": round(self.till_per_s),
            "till_half_load_per_s": round(self.half_per_s),
            "till_p99_ms": round(self.p99_ms, 2),
            "till_p99_ms_beside_grants": round(self.p99_beside_ms, 2),
        }


async def measure_grants(stage: Stage, size: Size) -> Figures:
    """Measure on a new stage; raises :class:`BenchError` when anything does not go through."""
    city = await seed_city(stage, wallets=size.payers, shops=size.shops)
    engine = make_engine(stage.application_url, pool_size=2, application_name="bench-grants")
    try:
        await _create_benefit(stage, size)
        wallet_ids = await _open_wallets(engine, size.wallets)
        async with open_plane(stage, "till") as till:
            return await _measure(Loader(stage, city, engine), till, wallet_ids, size)
    finally:
        await engine.dispose()


async def _measure(loader: Loader, till: Server, wallet_ids: Sequence[UUID], size: Size) -> Figures:
    stage, engine = loader.stage, loader.engine
    import_s = await _approve_roster(stage, engine, wallet_ids)
    used_s = _cpu_s(stage)
    alone_per_s = len(wallet_ids) / await _grant_all(stage)
    used_s = _cpu_s(stage) - used_s
    say(f"grants alone: {alone_per_s:,.0f} wallets/s")
    await _approve_roster(stage, engine, wallet_ids)
    await checkpoint(stage)
    await _pay(loader, till, size.warm_up)
    whole = await _pay(loader, till, size.warm_up)
    half_per_s = whole.answered / whole.seconds / 2
    before = await _pay(loader, till, int(half_per_s * size.half_s), half_per_s)
    beside, beside_per_s = await _pay_beside_grants(loader, till, size, half_per_s)
    say(f"grants beside the till: {beside_per_s:,.0f} wallets/s")
    return Figures(
        wallets=len(wallet_ids),
        alone_per_s=alone_per_s,
        beside_per_s=beside_per_s,
        cpu_ms=used_s * 1000 / len(wallet_ids),
        import_s=import_s,
        till_per_s=2 * half_per_s,
        half_per_s=half_per_s,
        p99_ms=before.p99_ms,
        p99_beside_ms=beside.p99_ms,
    )


async def _pay_beside_grants(
    loader: Loader, till: Server, size: Size, rate_per_s: float
) -> tuple[Result, float]:
    """Pay at a rate while grants are made; return what came of it, and the grants a second."""
    count = max(int(rate_per_s * size.half_s), 64)
    sales = loader.city.draw(count, registers=loader.city.registers)
    pepper = loader.stage.pepper.encode()
    requests = await render_sales(loader.engine, sales, pepper=pepper)
    job = Job(till.port, CONNECTIONS_OPEN, requests, arrivals(count, rate_per_s))
    path = loader.stage.directory / "job"
    path.write_bytes(msgspec.msgpack.encode(job))
    before = await _count(loader.engine)
    granting = asyncio.create_task(_grant_all(loader.stage))
    while await _count(loader.engine) == before and not granting.done():  # noqa: ASYNC110 - it is another process that has to begin
        await asyncio.sleep(0.02)
    before, started = await _count(loader.engine), monotonic()
    printed = await output_of(python("bench.generator", path), os.environ)
    granted = await _count(loader.engine) - before
    per_s = granted / (monotonic() - started)
    if granting.done() and size is WHOLE:
        say("the roster was given before the payments had ended: its rate is an under-estimate")
    await granting
    result = msgspec.json.decode(printed, type=Result)
    _tell(result)
    return result, per_s


def _cpu_s(stage: Stage) -> float:
    """Return the CPU of PostgreSQL and of all processes that have ended, in seconds."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return cpu_s(stage.cluster.pid) + ended.ru_utime + ended.ru_stime


async def _count(engine: AsyncEngine) -> int:
    async with read(engine) as connection:
        count: int = (await connection.execute(_GRANTED)).scalar_one()
        return count


async def _pay(
    loader: Loader, till: Server, payments: int, rate_per_s: float | None = None
) -> Result:
    """Pay everywhere; a payment that is refused would make the figures worth nothing."""
    result, _ = await loader.run(
        till, registers=loader.city.registers, payments=max(payments, 64), rate_per_s=rate_per_s
    )
    _tell(result)
    return result


def _tell(result: Result) -> None:
    if result.unfulfilled:
        message = f"the till answered {result.statuses}: {result.samples}"
        raise BenchError(message)
    say(
        f"till: {result.answered / result.seconds:,.0f} payments/s,"
        f" p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms"
    )


async def _grant_all(stage: Stage) -> float:
    """Give everything that is due, in a process of its own; return the seconds that it took."""
    wallet = Path(sys.executable).with_name("wallet")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WALLET_")}
    environment = {
        **inherited,
        "DATABASE_URL": stage.application_url,
        "DATABASE_OWNER_URL": stage.owner_url,
        "WALLET_PEPPER": stage.pepper,
    }
    told = json.loads(await output_of((wallet, "benefit", "grant", "--json"), environment))
    if told["held_up"] or not told["granted"]:
        message = f"not everything was granted: {told}"
        raise BenchError(message)
    return float(told["seconds"])


async def _create_benefit(stage: Stage, size: Size) -> None:
    today = japanese_day(system_clock())
    spending = Spending(first_day=today, last_day=today + timedelta(days=365))
    draft = ProgrammeDraft(
        code=BENEFIT,
        name="bench",
        kind=Kind.BENEFIT,
        spending=spending,
        budget_yen=2 * YEN * size.wallets,
    )
    async with bulk_teller(stage.application_url, clock=system_clock) as teller:
        await create_programme(teller, draft=draft, now_us=system_clock())


async def _open_wallets(engine: AsyncEngine, count: int) -> list[UUID]:
    say(f"opening {count:,} wallets")
    now_us = system_clock()
    wallet_ids = [new_id(now_us=now_us) for _ in range(count)]
    await open_wallets(engine, wallets=[NewWallet(one) for one in wallet_ids], now_us=now_us)
    return wallet_ids


async def _approve_roster(stage: Stage, engine: AsyncEngine, wallet_ids: Sequence[UUID]) -> float:
    """Import a roster with all wallets and approve it; return how long the import took."""
    now_us = system_clock()
    day = japanese_day(now_us)
    lines = [f"{public_id('wal', one)},2019-04-01,{YEN},birth\r\n" for one in wallet_ids]
    data = "".join(["beneficiary_ref,birthdate,amount,reason_code\r\n", *lines]).encode()
    started = monotonic()
    roster = read_roster(data, programme=BENEFIT, day=day)
    wanted = Wanted(programme=BENEFIT, period=uuid4().hex, claim_until=day + timedelta(days=90))

    async def work(connection: AsyncConnection) -> UUID:
        imported = await import_roster(
            connection,
            wanted=wanted,
            roster=roster,
            imported_by=uuid4(),
            pepper=stage.pepper.encode(),
            now_us=now_us,
        )
        return imported.run_id

    run_id = await write(engine, work)
    taken_s = monotonic() - started
    say(f"roster: {len(roster.rows):,} rows in {taken_s:.1f} s")

    async def approve(connection: AsyncConnection) -> None:
        run = await find_run(connection, run_id)
        payload = payload_of(run, await add_up(connection, run))
        await approve_run(connection, run_id=run_id, payload=payload, now_us=system_clock())

    await write(engine, approve)
    return taken_s


def main() -> int:
    """Measure, and print a line for people and one of JSON."""
    figures = measure_alone(
        "grants",
        __doc__,
        lambda stage, quick: measure_grants(stage, QUICK if quick else WHOLE),
    )
    reached = "reached" if figures.beside_per_s >= TARGET_PER_S else "NOT reached"
    print(
        f"{figures.beside_per_s:,.0f} wallets/s beside a till at half load"
        f" (at least {TARGET_PER_S:,}): {reached}; the till's p99 is"
        f" {figures.p99_beside_ms:.1f} ms with it and {figures.p99_ms:.1f} ms without"
    )
    print(json.dumps(figures.as_dict()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
