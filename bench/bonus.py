"""What a bonus on every payment costs the till, beside the same payments without one.

``python -m bench.bonus``: the city of the whole benchmark and its till, paid over HTTP. In slices
that take turns its vouchers bring nothing, or one point for every full 10 yen, out of one budget
for the whole city, or the same under a cap for each person and month. Everybody has earned a point
before, as in a city in which the campaign has begun, and no point can be spent as yet, so all kinds
of slices draw on the same purses. At the end the points are counted.
"""

import json
import sys
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.alone import measure_alone
from bench.city import seed_city
from bench.processes import BenchError, say
from bench.stage import Stage, checkpoint
from bench.till import Loader, Server, Tally, open_plane
from wallet.core.clock import japanese_day, system_clock
from wallet.core.database import make_engine, read, write
from wallet.core.ids import align_id, new_id
from wallet.ledger.bulk import bulk_teller
from wallet.programmes.create_programme import create_programme
from wallet.programmes.rules import Spending
from wallet.programmes.terms import ProgrammeDraft
from wallet.vouchers.issue_many import issue_many
from wallet.vouchers.rules import IssueRequest

TARGET: Final = 0.9

POINTS: Final = "bench-points"
BUDGET_YEN: Final = 10_000_000_000

_BONUS: Final = {
    "code": "every-payment",
    "every": {"yen": 10, "bonus_yen": 1},
    "payment_cap_yen": 1_000,
    "target": POINTS,
}
KINDS: Final[dict[str, list[dict[str, Any]]]] = {
    "plain": [],
    "bonus": [_BONUS],
    "capped": [{**_BONUS, "code": "capped", "month_cap_yen": 1_000_000}],
}
"""What the terms of every voucher say of bonuses in each kind of slice."""

# The till sees new terms by their version with the next batch.
_TURN: Final = text("""
UPDATE programme
SET version = version + 1,
    terms = terms || jsonb_build_object('bonuses', CAST(:bonuses AS jsonb))
WHERE code <> :points
""")

_WALLETS: Final = text("SELECT DISTINCT wallet_id FROM purse")

_GIVEN: Final = text("""
SELECT count(*), coalesce(sum(t.amount), 0)::bigint,
       (SELECT coalesce(sum(amount_yen), 0)::bigint FROM bonus_grant),
       (SELECT coalesce(sum(amount_yen), 0)::bigint FROM bonus_grant WHERE rule LIKE '%/capped'),
       (SELECT coalesce(sum(amount_yen), 0)::bigint FROM bonus_total)
FROM transfer AS t WHERE t.code = 21
""")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured, and how large the city is."""

    rounds: int
    wallets: int
    shops: int
    slice_s: float
    warm_up_payments: int


FULL: Final = Plan(rounds=6, wallets=20_000, shops=2_000, slice_s=3.0, warm_up_payments=4_000)
QUICK: Final = Plan(rounds=1, wallets=400, shops=40, slice_s=0.2, warm_up_payments=100)


@dataclass
class BonusCost:
    """Payments with a bonus on each of them, and without."""

    kinds: dict[str, Tally] = field(default_factory=lambda: {kind: Tally() for kind in KINDS})
    points: int = 0

    def ratio(self, kind: str = "bonus") -> float:
        """The rate with bonuses over that without."""
        return self.kinds[kind].per_s / self.kinds["plain"].per_s

    def figures(self) -> dict[str, float]:
        """Return the figures by their JSON keys."""
        figures: dict[str, float] = {
            "bonus_over_plain": round(self.ratio(), 3),
            "capped_bonus_over_plain": round(self.ratio("capped"), 3),
        }
        for kind, tally in self.kinds.items():
            figures[f"{kind}_payments_per_s"] = round(tally.per_s, 1)
            figures[f"{kind}_cpu_ms_per_payment"] = round(tally.cpu_ms, 3)
        return {**figures, "points_given": self.points}


async def measure_bonus(stage: Stage, plan: Plan) -> BonusCost:
    """Measure on a new stage; raises :class:`BenchError` when the points do not add up."""
    say(f"seeding a city of {plan.wallets:,} wallets")
    city = await seed_city(stage, wallets=plan.wallets, shops=plan.shops)
    engine = make_engine(stage.application_url, pool_size=2, application_name="bench-bonus")
    owner = make_engine(stage.owner_url, pool_size=1, application_name="bench-bonus-owner")
    cost = BonusCost()
    try:
        await _give_first_points(stage, engine)
        await checkpoint(stage)
        async with open_plane(stage, "till") as till:
            loader = Loader(stage, city, engine)
            await _take_turns(loader, till, owner, plan, cost)
        cost.points = await _count(engine, cost, loader)
    finally:
        await owner.dispose()
        await engine.dispose()
    return cost


async def _give_first_points(stage: Stage, engine: AsyncEngine) -> None:
    """Create the programme of points, and have everybody own one."""
    now_us = system_clock()
    today = japanese_day(now_us)
    draft = ProgrammeDraft(
        code=POINTS,
        name="bench",
        spending=Spending(
            first_day=today + timedelta(days=30), last_day=date(today.year + 2, 3, 31)
        ),
        budget_yen=BUDGET_YEN,
    )
    async with read(engine) as connection:
        wallet_ids = list((await connection.execute(_WALLETS)).scalars())
    async with bulk_teller(stage.application_url, clock=system_clock) as teller:
        await create_programme(teller, draft=draft, now_us=now_us)
        await issue_many(
            teller,
            requests=[
                IssueRequest(
                    issue_id=align_id(new_id(now_us=now_us)),
                    wallet_id=wallet_id,
                    programme=POINTS,
                    amount_yen=1,
                )
                for wallet_id in wallet_ids
            ],
        )


async def _take_turns(
    loader: Loader, till: Server, owner: AsyncEngine, plan: Plan, cost: BonusCost
) -> None:
    """Warm up all kinds, and let them take turns in both orders."""
    sizes: dict[str, int] = {}
    for kind in KINDS:
        tally = Tally()
        await _take(loader, till, owner, tally, plan.warm_up_payments, kind=kind)
        sizes[kind] = max(1, int(tally.per_s * plan.slice_s))
    if plan.rounds > 1:  # Most totals have a row from here on, as in the middle of a month.
        await _take(loader, till, owner, Tally(), plan.wallets, kind="capped")
    for number in range(plan.rounds):
        for kind in KINDS if number % 2 else reversed(KINDS):
            await _take(loader, till, owner, cost.kinds[kind], sizes[kind], kind=kind)


async def _take(
    loader: Loader, till: Server, owner: AsyncEngine, tally: Tally, payments: int, *, kind: str
) -> None:
    values = {"bonuses": json.dumps(KINDS[kind]), "points": POINTS}
    await write(owner, lambda connection: connection.execute(_TURN, values))
    result, used_s = await loader.run(till, registers=loader.city.registers, payments=payments)
    tally.add(result, server_cpu_s=used_s)
    say(f"{kind}: {result.answered / result.seconds:,.0f} payments/s, p99 {result.p99_ms:.1f} ms")


async def _count(engine: AsyncEngine, cost: BonusCost, loader: Loader) -> int:
    """Return the points that were given; every payment that was to bring some has."""
    async with read(engine) as connection:
        row = (await connection.execute(_GIVEN)).one()
    if loader.ledgered.refused or loader.ledgered.unanswered:
        message = f"{loader.ledgered.refused} payments were refused"
        raise BenchError(message)
    giving = cost.kinds["bonus"].payments + cost.kinds["capped"].payments
    if row[0] < giving or row[1] != row[2] or row[3] != row[4]:
        message = f"{giving:,} payments were to bring points, the books say {row}"
        raise BenchError(message)
    points: int = row[1]
    return points


def main() -> int:
    """Measure, and print a line for people and one of JSON."""
    cost = measure_alone(
        "bonus",
        __doc__,
        lambda stage, quick: measure_bonus(stage, QUICK if quick else FULL),
    )
    reached = "reached" if cost.ratio() >= TARGET else "NOT reached"
    print(
        f"with a bonus on every payment the till takes {cost.ratio():.2f} of what it takes without"
        f" (at least {TARGET}): {reached}"
    )
    print(json.dumps(cost.figures()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
