"""Random programmes and random histories: every yen is where a naive model says, all the time.

A machine issues, pays, gives back, extends, refunds buyers and lets days pass, on the real tables.
Beside it a model does the same with a dictionary of purses. What the teller answers, what is in
every purse and budget, and the proof in the end must agree with it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import count
from typing import Any, ClassVar, Final
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy import text

from tests.factories.city import City, make_city
from tests.factories.days import check_proof, expire
from tests.factories.merchants import Merchant, make_merchant
from tests.factories.payments import ask_to_pay, fresh, make_payer
from tests.factories.refunds import make_refund
from tests.factories.vouchers import ask, make_request
from tests.servers import Database
from wallet.core.clock import TestClock, japanese_day
from wallet.core.database import read, write
from wallet.payments.pay import Paid
from wallet.payments.refund import Refunded, refund_payment
from wallet.programmes.create_programme import create_programme
from wallet.programmes.extend import Extension, decide_extension, extend_due
from wallet.programmes.rules import Frame, Spending
from wallet.programmes.terms import ProgrammeDraft, Refunds
from wallet.vouchers.issue import Issued
from wallet.vouchers.refund_buyers import decide_buyer_refunds, run_due
from wallet.vouchers.refund_rules import Reason

WALLETS: Final = 2
EXTENDED_DAYS: Final = 5

Key = tuple[int, str, str, date]
"""A purse: the number of its wallet, its programme, its class of money, its last day."""

_HELD = text("""
SELECT p.wallet_id, g.code, p.funding, p.expires_on, b.credits_posted - b.debits_posted AS yen
FROM purse AS p JOIN programme AS g ON g.id = p.programme_id
JOIN balance AS b ON b.account_id = p.account_id
WHERE p.wallet_id = ANY(:wallets)
""")
_BUDGETS = text("""
SELECT g.code, b.credits_posted - b.debits_posted AS yen
FROM programme AS g JOIN balance AS b ON b.account_id = g.budget_account_id
WHERE g.code = ANY(:codes)
""")

_names = count(1)


@dataclass
class World:
    """A city, the loop it runs on, and a small and a large shop."""

    runner: asyncio.Runner
    city: City
    small: Merchant
    large: Merchant

    @property
    def clock(self) -> TestClock:
        """The clock, which only goes forward."""
        assert isinstance(self.city.clock, TestClock)
        return self.city.clock

    @property
    def day(self) -> date:
        """The day in Japan."""
        return japanese_day(self.clock())


@dataclass
class Spent:
    """A payment: its legs as they were drawn, each with what has not come back."""

    id: UUID
    wallet: int
    shop: Merchant
    legs: list[tuple[Key, int]]


@dataclass
class Model:
    """What there is, by the simplest bookkeeping that could be right."""

    drafts: list[ProgrammeDraft] = field(default_factory=list)
    purses: dict[Key, int] = field(default_factory=dict)
    budgets: dict[str, int] = field(default_factory=dict)
    sets: dict[tuple[int, str], int] = field(default_factory=dict)
    paid: list[Spent] = field(default_factory=list)

    def draft(self, code: str) -> ProgrammeDraft:
        """Return a programme by its code."""
        return next(one for one in self.drafts if one.code == code)

    def add(self, key: Key, yen: int) -> None:
        """Put yen into a purse, or take them out."""
        self.purses[key] = self.purses.get(key, 0) + yen

    def issue(self, wallet: int, draft: ProgrammeDraft, amount: int, day: date) -> bool:
        """Issue sets or yen, and return whether that may be."""
        code, frame = draft.code, draft.frame
        if day > draft.spending.last_day:
            return False
        if frame is None:
            paid_yen, added_yen, added = 0, amount, "free"
        else:
            sold = sum(n for (_, of), n in self.sets.items() if of == code)
            own = self.sets.get((wallet, code), 0)
            if own + amount > frame.sets_per_person or sold + amount > frame.sets_total:
                return False
            paid_yen, added = frame.price_yen * amount, "premium"
            added_yen = (frame.face_yen - frame.price_yen) * amount
        if added_yen > self.budgets[code]:
            return False
        self.budgets[code] -= added_yen
        if frame is not None:
            self.sets[wallet, code] = self.sets.get((wallet, code), 0) + amount
            self.add((wallet, code, "paid", draft.spending.last_day), paid_yen)
        if added_yen:
            self.add((wallet, code, added, draft.spending.last_day), added_yen)
        return True

    def in_order(self, wallet: int, day: date, *, small: bool) -> list[Key]:
        """Return the purses that may pay, in the order of spending."""

        def rank(key: Key) -> tuple[bool, date, int, int]:
            draft = self.draft(key[1])
            fundings = ["paid", "premium", "free"]
            if draft.spending.premium_first:
                fundings = ["premium", "paid", "free"]
            restricted = draft.spending.shops == "small"
            number = self.drafts.index(draft)
            return (not restricted, key[3], number, fundings.index(key[2]))

        usable = [
            key
            for key, yen in self.purses.items()
            if key[0] == wallet
            and yen > 0
            and key[3] >= day
            and (small or self.draft(key[1]).spending.shops == "all")
        ]
        return sorted(usable, key=rank)

    def pay(self, wallet: int, yen: int, day: date, *, small: bool) -> list[tuple[Key, int]]:
        """Draw on the purses and return what each has given, nothing when they do not suffice."""
        legs: list[tuple[Key, int]] = []
        for key in self.in_order(wallet, day, small=small):
            given = min(self.purses[key], yen - sum(amount for _, amount in legs))
            if given:
                legs.append((key, given))
        if sum(amount for _, amount in legs) < yen:
            return []
        for key, amount in legs:
            self.add(key, -amount)
        return legs

    def give_back(self, spent: Spent, yen: int, day: date) -> bool:
        """Give back the last yen that were drawn, and return whether that may be."""
        if yen > sum(amount for _, amount in spent.legs):
            return False
        left, legs = yen, list(spent.legs)
        moves: list[tuple[Key, int]] = []
        while left:
            key, amount = legs.pop()
            given = min(amount, left)
            left -= given
            moves.append((key, given))
            if amount > given:
                legs.append((key, amount - given))
        over = [key for key, _ in moves if key[3] < day]
        if any(self.draft(key[1]).refunds.to_expired == "refuse" for key in over):
            return False
        for (wallet, code, funding, last_day), given in moves:
            refunds = self.draft(code).refunds
            if last_day >= day:
                self.add((wallet, code, funding, last_day), given)
            elif refunds.to_expired == "budget":
                self.budgets[code] += given
            else:
                later = day + timedelta(days=refunds.extend_days)
                self.add((wallet, code, funding, later), given)
        spent.legs = legs
        return True

    def expire(self, day: date) -> None:
        """Move what is over to the budgets."""
        for key, yen in list(self.purses.items()):
            if key[3] < day:
                self.budgets[key[1]] += yen
                self.purses[key] = 0

    def extend(self, code: str, from_day: date, to_day: date) -> None:
        """Give purses a later day; what was drawn from them comes back to where they are now."""
        for key in [one for one in self.purses if one[1] == code and one[3] == from_day]:
            moved = (*key[:3], to_day)
            stays = moved in self.purses
            self.add(moved, self.purses.pop(key))
            if stays:
                self.purses[key] = 0
                continue
            for spent in self.paid:
                spent.legs = [(moved if one == key else one, yen) for one, yen in spent.legs]

    def refund_buyer(self, wallet: int, code: str, day: date) -> bool:
        """Take what was bought out of a wallet; the premium goes to the budget."""
        own = [
            k for k, yen in self.purses.items() if k[:2] == (wallet, code) and k[3] >= day and yen
        ]
        if not any(key[2] == "paid" for key in own):
            return False
        for key in own:
            if key[2] == "premium":
                self.budgets[code] += self.purses[key]
            if key[2] != "free":
                self.purses[key] = 0
        return True


@st.composite
def drafts(choose: st.DrawFn, today: date) -> ProgrammeDraft:
    """Return a programme that begins now: a voucher of some sets, or free money with a budget."""
    last_day = today + timedelta(days=choose(st.integers(1, 12)))
    fields: dict[str, Any] = {
        "code": f"history-{next(_names)}",
        "name": "制度",
        "spending": Spending(
            first_day=today,
            last_day=last_day,
            shops=choose(st.sampled_from(["all", "small"])),
            premium_first=choose(st.booleans()),
        ),
        "refunds": choose(
            st.sampled_from(
                [
                    Refunds(),
                    Refunds(to_expired="refuse"),
                    Refunds(to_expired="extend_days", extend_days=3),
                ]
            )
        ),
    }
    if choose(st.booleans()):
        price_yen = choose(st.integers(100, 900))
        frame = Frame(
            price_yen=price_yen,
            face_yen=price_yen + choose(st.integers(0, 300)),
            sets_total=choose(st.integers(3, 6)),
            sets_per_person=choose(st.integers(1, 3)),
        )
        return ProgrammeDraft(frame=frame, **fields)
    return ProgrammeDraft(budget_yen=choose(st.integers(500, 4_000)), **fields)


class Histories(RuleBasedStateMachine):
    """One history of a few programmes and two wallets."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.wallets: list[UUID] = []

    def run(self, work: Any) -> Any:  # noqa: ANN401 - whatever it brings
        """Run something on the city's loop."""
        return self.world.runner.run(work)

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Create the programmes and open the wallets."""
        city, today = self.world.city, self.world.day
        self.wallets = [self.run(make_payer(city, yen=0)) for _ in range(WALLETS)]
        for _ in range(data.draw(st.integers(1, 3))):
            draft = data.draw(drafts(today))
            self.run(create_programme(city.teller, draft=draft, now_us=city.clock()))
            self.model.drafts.append(draft)
            self.model.budgets[draft.code] = draft.funded_yen

    @rule(data=st.data(), wallet=st.integers(0, WALLETS - 1))
    def issue(self, data: st.DataObject, wallet: int) -> None:
        """Issue sets of a voucher, or yen of free money."""
        draft = data.draw(st.sampled_from(self.model.drafts))
        amount = data.draw(st.integers(1, 2) if draft.frame else st.integers(1, 1_500))
        named = {"sets": amount} if draft.frame else {"amount_yen": amount}
        request = make_request(self.wallets[wallet], draft.code, **named)
        answer = self.run(ask(self.world.city.teller, request))
        expected = self.model.issue(wallet, draft, amount, self.world.day)
        assert isinstance(answer, Issued) is expected, answer

    @rule(wallet=st.integers(0, WALLETS - 1), yen=st.integers(1, 1_200), small=st.booleans())
    def pay(self, wallet: int, yen: int, *, small: bool) -> None:
        """Pay in the small shop or in the large one."""
        shop = self.world.small if small else self.world.large
        answer = self.run(self._pay(wallet, yen, shop))
        legs = self.model.pay(wallet, yen, self.world.day, small=small)
        assert isinstance(answer, Paid)
        assert (answer.payment.refusal is None) is bool(legs), answer
        drawn = [(part.programme, part.funding, part.amount_yen) for part in answer.payment.parts]
        assert drawn == [(key[1], key[2], amount) for key, amount in legs]
        if legs:
            self.model.paid.append(Spent(answer.payment.id, wallet, shop, legs))

    async def _pay(self, wallet: int, yen: int, shop: Merchant) -> Any:  # noqa: ANN401 - an answer
        city = self.world.city
        request = await fresh(
            city,
            self.wallets[wallet],
            amount_yen=yen,
            merchant_id=shop.id,
            terminal_id=shop.terminal_id,
        )
        return await ask_to_pay(city, request)

    @rule(data=st.data(), yen=st.integers(1, 700))
    def give_back(self, data: st.DataObject, yen: int) -> None:
        """Give some of a payment back."""
        if not self.model.paid:
            return
        spent = data.draw(st.sampled_from(self.model.paid))
        city = self.world.city
        request = make_refund(city, spent.id, merchant_id=spent.shop.id, amount_yen=yen)
        answer = self.run(refund_payment(city.teller, request))
        expected = self.model.give_back(spent, yen, self.world.day)
        assert isinstance(answer, Refunded) is expected, answer

    @rule(days=st.integers(1, 6), works=st.booleans())
    def wait(self, days: int, *, works: bool) -> None:
        """Let days pass; the worker may be late."""
        self.world.clock.advance(seconds=days * 86_400)
        if works:
            self.run(expire(self.world.city))
            self.model.expire(self.world.day)

    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        """Put a last day off, of all purses that have it."""
        city, today = self.world.city, self.world.day
        found = sorted({(key[1], key[3]) for key in self.model.purses if key[3] >= today})
        if not found:
            return
        code, from_day = data.draw(st.sampled_from(found))
        to_day = from_day + timedelta(days=EXTENDED_DAYS)
        extension = Extension(programme=code, from_day=from_day, to_day=to_day)
        self.run(
            write(
                city.engine,
                lambda connection: decide_extension(
                    connection, extension=extension, reason="a test", now_us=city.clock()
                ),
            )
        )
        self.run(extend_due(city.engine, database_url=city.database_url, clock=city.clock))
        self.model.extend(code, from_day, to_day)

    @rule(data=st.data(), wallet=st.integers(0, WALLETS - 1))
    def refund_buyer(self, data: st.DataObject, wallet: int) -> None:
        """Give a buyer back what is left."""
        city, day = self.world.city, self.world.day
        draft = data.draw(st.sampled_from(self.model.drafts))
        self.run(
            write(
                city.engine,
                lambda connection: decide_buyer_refunds(
                    connection,
                    programme=draft.code,
                    wallet_ids=[self.wallets[wallet]],
                    reason=Reason.MOVING_AWAY,
                    now_us=city.clock(),
                ),
            )
        )
        self.run(run_due(city.engine, city.database_url, city.clock))
        self.model.refund_buyer(wallet, draft.code, day)

    def teardown(self) -> None:
        """Compare every purse and budget."""
        if self.wallets:
            self.run(self._compare())

    async def _compare(self) -> None:
        city = self.world.city
        async with read(city.engine) as connection:
            held = await connection.execute(_HELD, {"wallets": self.wallets})
            purses = {
                (self.wallets.index(row.wallet_id), row.code, row.funding, row.expires_on): row.yen
                for row in held
                if row.yen
            }
            left = await connection.execute(_BUDGETS, {"codes": list(self.model.budgets)})
            budgets = {row.code: row.yen for row in left}
        assert purses == {key: yen for key, yen in self.model.purses.items() if yen}
        assert budgets == self.model.budgets


@pytest.fixture
def world(module_database: Database) -> Iterator[World]:
    """A city on the module's database."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        city = runner.run(
            stack.enter_async_context(make_city(module_database.application_url, lanes=1))
        )
        large = runner.run(make_merchant(city.engine, city.teller, small=False))
        yield World(runner, city, city.merchant, large)
        runner.run(stack.aclose())


def test_every_yen_of_every_programme_is_where_it_should_be(world: World) -> None:
    Histories.world = world
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=settings().max_examples // 5, stateful_step_count=18, deadline=None
        ),
    )
    world.runner.run(check_proof(world.city))
