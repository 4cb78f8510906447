"""How fast units are sold to whoever comes first, beside plain payments out of the same wallets.

``python -m bench.first_come``: the city of the whole benchmark, and one teller as a plane has it.
500 people at once ask it for something, in slices that take turns: to pay a shop by card, or to
reserve a unit of a voucher that all of them want, so that every batch locks the same row. At the
end 500 people at once want the last few units from two processes' tellers, and what was sold is
counted.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from time import perf_counter
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bench.alone import measure_alone
from bench.city import City, seed_city
from bench.processes import BenchError, say
from bench.stage import Stage, checkpoint
from wallet.core.clock import MICROSECONDS, japanese_day, system_clock
from wallet.core.database import make_engine, read, write
from wallet.core.ids import align_id, keyed_hash, new_id, parse_public_id
from wallet.ledger.teller import Teller
from wallet.ledger.work import Work
from wallet.payments.pay import Paid, Pay
from wallet.payments.rules import CARD, PayRequest
from wallet.planes.frame import make_teller
from wallet.programmes.create_programme import create_programme
from wallet.programmes.rules import Frame, Spending
from wallet.programmes.terms import ProgrammeDraft
from wallet.settings import read_settings
from wallet.vouchers.purchase_rules import ReserveRequest
from wallet.vouchers.purchase_stock import Sale, open_sale
from wallet.vouchers.reserve import RESERVE, Reserved

TARGET: Final = 0.7
BUYERS: Final = 500

VOUCHER: Final = "bench-first-come"
RUSH: Final = "bench-last-units"
UNITS: Final = 10_000_000

_MERCHANTS: Final = text("""
SELECT t.id, s.merchant_id FROM terminal AS t JOIN shop AS s ON s.id = t.shop_id
""")
_WALLETS: Final = text("SELECT DISTINCT wallet_id FROM purse ORDER BY wallet_id")
_SOLD: Final = text("""
SELECT s.units_reserved, coalesce(sum(p.units), 0)::int, count(p.id)
FROM stock AS s JOIN programme AS g ON g.id = s.programme_id
LEFT JOIN purchase AS p ON p.programme_id = s.programme_id
WHERE g.code = :code GROUP BY s.programme_id
""")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured, and how large the city is."""

    rounds: int
    wallets: int
    shops: int
    slice_s: float
    warm_up: int
    last_units: int


FULL: Final = Plan(
    rounds=6, wallets=20_000, shops=2_000, slice_s=3.0, warm_up=4_000, last_units=1_000
)
QUICK: Final = Plan(rounds=1, wallets=500, shops=40, slice_s=0.1, warm_up=100, last_units=50)


@dataclass
class Rate:
    """What was asked for and answered with a yes, and how long it took."""

    answered: int = 0
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        """Answers in a second."""
        return self.answered / self.seconds


@dataclass
class FirstCome:
    """Reservations beside payments, and how the last units went."""

    payments: Rate = field(default_factory=Rate)
    reservations: Rate = field(default_factory=Rate)
    last_units: int = 0
    last_units_sold: int = 0

    @property
    def ratio(self) -> float:
        """The rate of reservations over that of payments."""
        return self.reservations.per_s / self.payments.per_s

    def figures(self) -> dict[str, float]:
        """Return the figures by their JSON keys."""
        return {
            "first_come_over_payments": round(self.ratio, 3),
            "payments_per_s": round(self.payments.per_s, 1),
            "reservations_per_s": round(self.reservations.per_s, 1),
            "last_units": self.last_units,
            "last_units_sold": self.last_units_sold,
        }


class Crowd:
    """People who pay and people who buy, as requests for the teller."""

    def __init__(
        self, city: City, merchants: dict[UUID, UUID], wallets: Sequence[UUID], pepper: bytes
    ) -> None:
        self._city = city
        self._merchants = merchants
        self._wallets = wallets
        self._pepper = pepper
        self._number = 0

    def payments(self, count: int) -> list[PayRequest]:
        """Return payments by card that succeed."""
        requests = []
        for sale in self._city.draw(count, registers=self._city.registers):
            terminal_id = parse_public_id("ter", sale.register.terminal_id)
            if terminal_id is None:
                message = f"{sale.register.terminal_id} is no terminal"
                raise BenchError(message)
            requests.append(
                PayRequest(
                    align_id(new_id(now_us=system_clock())),
                    self._merchants[terminal_id],
                    f"pay-{sale.number}",
                    f"R-{sale.number:09}",
                    terminal_id,
                    sale.amount_yen,
                    CARD,
                    keyed_hash(sale.purse.card_value, pepper=self._pepper),
                    None,
                )
            )
        return requests

    def wishes(self, count: int, programme: str = VOUCHER) -> list[ReserveRequest]:
        """Return one wish for one unit from each wallet in turn."""
        return [self._wish(programme) for _ in range(count)]

    def _wish(self, programme: str) -> ReserveRequest:
        self._number += 1
        wallet_id = self._wallets[self._number % len(self._wallets)]
        return ReserveRequest(
            purchase_id=align_id(new_id(now_us=system_clock())),
            person_id=wallet_id,
            wallet_id=wallet_id,
            programme=programme,
            units=1,
            idempotency_key=f"buy-{self._number}",
        )


async def measure_first_come(stage: Stage, plan: Plan) -> FirstCome:
    """Measure on a new stage; raises :class:`BenchError` when units do not add up."""
    say(f"seeding a city of {plan.wallets:,} wallets")
    city = await seed_city(stage, wallets=plan.wallets, shops=plan.shops)
    engine = make_engine(stage.application_url, pool_size=2, application_name="bench-sale")
    try:
        async with _open_teller(stage) as teller, _open_teller(stage) as other:
            crowd = await _open_sales(engine, teller, city, stage, plan)
            if plan.rounds > 1:  # A smoke test measures nothing.
                await checkpoint(stage)
            found = await _take_turns(crowd, teller, plan)
            await _check(engine, VOUCHER, at_least=found.reservations.answered)
            found.last_units = plan.last_units
            found.last_units_sold = await _rush(engine, crowd, (teller, other), plan)
    finally:
        await engine.dispose()
    return found


@asynccontextmanager
async def _open_teller(stage: Stage) -> AsyncIterator[Teller]:
    """Yield a teller as a plane has it by default."""
    teller = make_teller(
        read_settings(), database_url=stage.application_url, clock=system_clock, name="bench-sale"
    )
    await teller.start()
    try:
        yield teller
    finally:
        await teller.close()


async def _open_sales(
    engine: AsyncEngine, teller: Teller, city: City, stage: Stage, plan: Plan
) -> Crowd:
    now_us = system_clock()
    today = japanese_day(now_us)
    for code, units in ((VOUCHER, UNITS), (RUSH, plan.last_units)):
        draft = ProgrammeDraft(
            code=code,
            name="bench",
            spending=Spending(first_day=today, last_day=today + timedelta(days=180)),
            frame=Frame(
                price_yen=1, face_yen=1, sets_total=units, sets_per_person=min(units, 100_000)
            ),
        )
        await create_programme(teller, draft=draft, now_us=now_us)
        sale = Sale(
            mode="first_come",
            units_total=units,
            opens_us=now_us,
            closes_us=now_us + 86_400 * MICROSECONDS,
        )

        async def work(connection: AsyncConnection, code: str = code, sale: Sale = sale) -> None:
            await open_sale(connection, programme=code, sale=sale)

        await write(engine, work)
    async with read(engine) as connection:
        merchants = {row[0]: row[1] for row in await connection.execute(_MERCHANTS)}
        wallets = list((await connection.execute(_WALLETS)).scalars())
    return Crowd(city, merchants, wallets, stage.pepper.encode())


async def _take_turns(crowd: Crowd, teller: Teller, plan: Plan) -> FirstCome:
    """Warm both up, and let them take turns in both orders."""
    found = FirstCome()
    pay = Pay()
    kinds: list[tuple[str, Work, Callable[[int], Sequence[object]], Rate]] = [
        ("payments", pay, crowd.payments, found.payments),
        ("reservations", RESERVE, crowd.wishes, found.reservations),
    ]
    sizes = {}
    for name, work, requests, _ in kinds:
        warm = Rate()
        await _ask(teller, work, requests(plan.warm_up), warm)
        sizes[name] = max(1, int(warm.per_s * plan.slice_s))
    for number in range(plan.rounds):
        for name, work, requests, rate in kinds if number % 2 else reversed(kinds):
            before = Rate(rate.answered, rate.seconds)
            await _ask(teller, work, requests(sizes[name]), rate)
            slice_s = rate.seconds - before.seconds
            say(f"{name}: {(rate.answered - before.answered) / slice_s:,.0f} in a second")
    return found


async def _ask(teller: Teller, work: Work, requests: Sequence[object], rate: Rate) -> None:
    """Have 500 people ask one after the other, until all requests are answered with a yes."""
    left = iter(requests)

    async def person(asked: Iterator[object]) -> None:
        for request in asked:
            answer = await teller.submit(work, request)
            is_paid = isinstance(answer, Paid) and answer.payment.state == "succeeded"
            if not is_paid and not isinstance(answer, Reserved):
                message = f"something was refused: {answer}"
                raise BenchError(message)

    began = perf_counter()
    await asyncio.gather(*(person(left) for _ in range(BUYERS)))
    rate.seconds += perf_counter() - began
    rate.answered += len(requests)


async def _rush(
    engine: AsyncEngine, crowd: Crowd, tellers: tuple[Teller, Teller], plan: Plan
) -> int:
    """Have 500 people at once want twice as much as there is, and return what was sold."""
    left = iter(crowd.wishes(2 * plan.last_units, RUSH))

    async def person(teller: Teller, asked: Iterator[ReserveRequest]) -> int:
        got = 0
        for request in asked:
            got += isinstance(await teller.submit(RESERVE, request), Reserved)
        return got

    sold = sum(await asyncio.gather(*(person(tellers[n % 2], left) for n in range(BUYERS))))
    await _check(engine, RUSH, at_least=sold)
    if sold != plan.last_units:
        message = f"of {plan.last_units:,} units {sold:,} were sold"
        raise BenchError(message)
    return sold


async def _check(engine: AsyncEngine, code: str, *, at_least: int) -> None:
    """Raise unless the stock's count is that of the purchases, and theirs what was answered."""
    async with read(engine) as connection:
        reserved, units, purchases = (await connection.execute(_SOLD, {"code": code})).one()
    if reserved != units or purchases < at_least:
        message = f"{at_least:,} units were reserved, the books say {reserved:,} and {units:,}"
        raise BenchError(message)


def main() -> int:
    """Measure, and print a line for people and one of JSON."""
    found = measure_alone(
        "first_come",
        __doc__,
        lambda stage, quick: measure_first_come(stage, QUICK if quick else FULL),
    )
    reached = "reached" if found.ratio >= TARGET else "NOT reached"
    print(
        f"units are reserved at {found.ratio:.2f} of the rate of payments"
        f" (at least {TARGET}): {reached}; of the last {found.last_units:,} units"
        f" {found.last_units_sold:,} were sold"
    )
    print(json.dumps(found.figures()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
