"""What it costs the till that a whole programme's money expires while people pay.

``python -m bench.expiry``: 200,000 purses of money whose last day is over are emptied as the worker
does it, while payments arrive at random at half of what the till takes. The same payments before
that tell what they wait without it. The money is issued by the product itself, and the proof is
asked at the end.
"""

import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from bench.alone import measure_alone
from bench.city import seed_city
from bench.generator import Result
from bench.processes import BenchError, say
from bench.stage import Stage, checkpoint
from bench.till import Loader, Server, open_plane
from wallet.core.clock import MICROSECONDS, japanese_day, system_clock
from wallet.core.database import make_engine
from wallet.core.ids import align_id, new_id
from wallet.ledger.bulk import bulk_teller
from wallet.people.open_wallets import NewWallet, open_wallets
from wallet.programmes.create_programme import create_programme
from wallet.programmes.expire import expire_due
from wallet.programmes.rules import Spending
from wallet.programmes.terms import ProgrammeDraft
from wallet.proof import prove
from wallet.vouchers.issue_many import issue_many
from wallet.vouchers.rules import IssueRequest

TARGET_S: Final = 60.0
TARGET_P99_MS: Final = 50.0

PROGRAMMES: Final = 5
"""Each holder has a purse of each, as people have of several vouchers."""

GIVEN_YEN: Final = 500

DAY_US: Final = 86_400 * MICROSECONDS


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    holders: int
    wallets: int
    shops: int
    warm_up_payments: int
    slice_s: float
    slices_before: int


FULL: Final = Plan(
    holders=40_000,
    wallets=20_000,
    shops=1_000,
    warm_up_payments=3_000,
    slice_s=8.0,
    slices_before=3,
)
QUICK: Final = Plan(
    holders=40, wallets=200, shops=20, warm_up_payments=60, slice_s=0.2, slices_before=1
)


@dataclass
class Cost:
    """What was measured; slices of payments before the expiry and beside it."""

    purses: int = 0
    seconds: float = 0.0
    rate_per_s: float = 0.0
    before: list[Result] = field(default_factory=list)
    beside: list[Result] = field(default_factory=list)
    is_proved: bool = False

    def figures(self) -> dict[str, float]:
        """Return the figures by their JSON keys."""
        before_ms = statistics.median(one.p99_ms for one in self.before)
        beside_ms = statistics.median(one.p99_ms for one in self.beside)
        return {
            "expired_purses": self.purses,
            "expiry_s": round(self.seconds, 2),
            "expired_per_s": round(self.purses / self.seconds, 1),
            "payments_per_s_beside": round(self.rate_per_s, 1),
            "p99_ms_before": round(before_ms, 2),
            "p99_ms_beside": round(beside_ms, 2),
            "p99_beside_over_before": round(beside_ms / before_ms, 3),
        }


async def measure_expiry(stage: Stage, plan: Plan) -> Cost:
    """Measure on a new stage; raises :class:`BenchError` when a payment does not go through."""
    cost = Cost()
    city = await seed_city(stage, wallets=plan.wallets, shops=plan.shops)
    engine = make_engine(stage.application_url, pool_size=4, application_name="bench-expiry")
    try:
        await _issue(stage, engine, plan)
        async with open_plane(stage, "till") as till:
            loader = Loader(stage, city, engine)
            await _measure(stage, engine, loader, till, plan, cost)
        cost.is_proved = (await prove(engine, now_us=system_clock() + DAY_US)).ok
        if loader.ledgered.refused or loader.ledgered.unanswered:
            message = f"payments were refused or not answered: {loader.ledgered}"
            raise BenchError(message)
    finally:
        await engine.dispose()
    return cost


async def _issue(stage: Stage, engine: AsyncEngine, plan: Plan) -> None:
    """Issue money that is good until today to holders who will not pay with it."""
    now_us = system_clock()
    today = japanese_day(now_us)
    wallets = [NewWallet(new_id(now_us=now_us)) for _ in range(plan.holders)]
    say(f"issuing {plan.holders * PROGRAMMES:,} purses")
    await open_wallets(engine, wallets=wallets, now_us=now_us)
    async with bulk_teller(stage.application_url, clock=system_clock) as teller:
        for number in range(PROGRAMMES):
            code = f"bench-expiry-{number}"
            draft = ProgrammeDraft(
                code=code,
                name="bench",
                spending=Spending(first_day=today - timedelta(days=1), last_day=today),
                budget_yen=plan.holders * GIVEN_YEN,
            )
            await create_programme(teller, draft=draft, now_us=now_us)
            requests = [
                IssueRequest(
                    issue_id=align_id(new_id(now_us=now_us)),
                    wallet_id=wallet.id,
                    programme=code,
                    amount_yen=GIVEN_YEN,
                )
                for wallet in wallets
            ]
            await issue_many(teller, requests=requests)


async def _measure(
    stage: Stage, engine: AsyncEngine, loader: Loader, till: Server, plan: Plan, cost: Cost
) -> None:
    registers = loader.city.registers

    async def take(name: str, payments: int, rate_per_s: float | None = None) -> Result:
        result, _ = await loader.run(
            till, registers=registers, payments=max(1, payments), rate_per_s=rate_per_s
        )
        say(
            f"{name}: {result.answered / result.seconds:,.0f} payments/s,"
            f" p99 {result.p99_ms:.1f} ms"
        )
        return result

    await take("warming up", plan.warm_up_payments)
    full = await take("as many as it takes", plan.warm_up_payments)
    cost.rate_per_s = full.answered / full.seconds / 2
    payments = int(cost.rate_per_s * plan.slice_s)
    await checkpoint(stage)
    for _ in range(plan.slices_before):
        cost.before.append(await take("half load", payments, cost.rate_per_s))
    await checkpoint(stage)
    expiry = asyncio.create_task(_expire(engine, stage, cost))
    while not expiry.done():
        result = await take("half load beside the expiry", payments, cost.rate_per_s)
        # The last slice has gone on without it, unless it is the only one.
        if not expiry.done() or not cost.beside:
            cost.beside.append(result)
    await expiry


async def _expire(engine: AsyncEngine, stage: Stage, cost: Cost) -> None:
    """Do what the worker does, a day from now."""
    begun = time.perf_counter()
    cost.purses = await expire_due(
        engine, database_url=stage.application_url, clock=lambda: system_clock() + DAY_US
    )
    cost.seconds = time.perf_counter() - begun
    say(f"{cost.purses:,} purses have ended in {cost.seconds:.1f} s")


def main() -> int:
    """Measure, and print a line for people and one of JSON; 1 when the money does not add up."""
    cost = measure_alone(
        "expiry",
        __doc__,
        lambda stage, quick: measure_expiry(stage, QUICK if quick else FULL),
    )
    figures = cost.figures()
    is_reached = figures["expiry_s"] <= TARGET_S and figures["p99_ms_beside"] <= TARGET_P99_MS
    print(
        f"{cost.purses:,} purses ended in {cost.seconds:.1f} s (at most {TARGET_S:.0f}), payments"
        f" beside them waited {figures['p99_ms_beside']:.1f} ms (at most {TARGET_P99_MS:.0f}):"
        f" {'reached' if is_reached else 'NOT reached'}"
    )
    print(json.dumps(figures))
    return 0 if cost.is_proved else 1


if __name__ == "__main__":
    sys.exit(main())
