"""Random histories of gifts, events, exchanges and payments: every yen is where a model has it."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.factories.city import City, make_city
from tests.factories.moments import NOW_US
from tests.factories.planting import failed
from tests.factories.points import (
    answer_to,
    attend,
    exchange,
    gift_of,
    hash_of,
    make_coin,
    make_event,
    make_person,
    make_points,
    new_gift_code,
    purses_in,
    sell,
    settle,
)
from tests.factories.residents import Resident
from tests.servers import Database
from wallet.auth.rules import Acr, Requirement
from wallet.points import give
from wallet.points.attend import Attended
from wallet.points.claim import Cancel, Claim
from wallet.points.exchange import Exchanged
from wallet.points.give import Gave
from wallet.programmes.terms import Exchange as Rate
from wallet.programmes.terms import Gifts
from wallet.proof import prove

DAY_YEN = 30_000
MONTH_YEN = 6_000
EVENT_YEN = 100
BUDGET_YEN = 450

people = st.integers(0, 2)
yen = st.integers(1, 2_500)


class World:
    """A city that all histories share; each has people and programmes of its own."""

    def __init__(self, runner: asyncio.Runner, city: City) -> None:
        self.runner, self.city = runner, city


class PointsMachine(RuleBasedStateMachine):
    """Three people with coin and points, and what each must hold by now."""

    world: ClassVar[World]

    @initialize()
    def begin(self) -> None:
        """Open the people's wallets and programmes."""
        self.run = self.world.runner.run
        self.teller, self.engine = self.world.city.teller, self.world.city.engine
        self.run(self._begin())
        self.coin: Counter[int] = Counter(dict.fromkeys(range(3), 5_000))
        self.points: Counter[int] = Counter()
        self.others: Counter[int] = Counter()
        self.given: Counter[int] = Counter()
        self.budget_yen = BUDGET_YEN
        self.waiting: dict[str, tuple[int, int, Cancel]] = {}

    async def _begin(self) -> None:
        self.people: list[Resident] = [await make_person(self.engine) for _ in range(3)]
        gifts = Gifts(allowed=True, month_max_yen=MONTH_YEN)
        self.code = await make_coin(self.teller, gifts=gifts)
        self.to = await make_points(self.teller, budget_yen=1_000)
        rate = Rate(to=self.to, times=1, per=3)
        self.earned = await make_points(self.teller, budget_yen=BUDGET_YEN, exchanges=[rate])
        for person in self.people:
            await sell(self.teller, person, self.code, yen=5_000)

    def _held(self, person: int) -> int:
        return sum(amount for giver, amount, _ in self.waiting.values() if giver == person)

    def _may_give(self, giver: int, amount: int) -> bool:
        left = self.coin[giver] - self._held(giver)
        return amount <= left and self.given[giver] + amount <= min(DAY_YEN, MONTH_YEN)

    @rule(giver=people, receiver=people, amount=yen)
    def give_to(self, giver: int, receiver: int, amount: int) -> None:
        """Give to somebody who is named."""
        request = gift_of(self.people[giver], self.people[receiver], self.code, yen=amount)
        gave = isinstance(self.run(answer_to(self.teller, request)), Gave)
        assert gave == (giver != receiver and self._may_give(giver, amount))
        if gave:
            self.coin[giver] -= amount
            self.coin[receiver] += amount
            self.given[giver] += amount

    @rule(giver=people, amount=yen)
    def give_by_code(self, giver: int, amount: int) -> None:
        """Give to whoever has the code."""
        code = new_gift_code()
        request = gift_of(self.people[giver], None, self.code, yen=amount, code_hash=hash_of(code))
        answer = self.run(answer_to(self.teller, request))
        assert isinstance(answer, Gave) == self._may_give(giver, amount)
        if isinstance(answer, Gave):
            cancel = Cancel(self.people[giver].id, answer.gift.id)
            self.waiting[code] = (giver, amount, cancel)
            self.given[giver] += amount

    @precondition(lambda self: self.waiting)
    @rule(claimer=people, data=st.data())
    def claim(self, claimer: int, data: st.DataObject) -> None:
        """Claim a gift that waits."""
        code = data.draw(st.sampled_from(sorted(self.waiting)))
        giver, amount, _ = self.waiting[code]
        request = Claim(self.people[claimer].id, hash_of(code))
        claimed = isinstance(self.run(settle(self.teller, request)), Gave)
        assert claimed == (claimer != giver)
        if claimed:
            del self.waiting[code]
            self.coin[giver] -= amount
            self.coin[claimer] += amount

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Take back a gift that waits."""
        code = data.draw(st.sampled_from(sorted(self.waiting)))
        giver, amount, cancel = self.waiting.pop(code)
        assert isinstance(self.run(settle(self.teller, cancel)), Gave)
        self.given[giver] -= amount

    @rule(person=people)
    def take_part(self, person: int) -> None:
        """Be at an event of its own."""
        answer = self.run(self._attend(person))
        assert isinstance(answer, Attended) == (self.budget_yen >= EVENT_YEN)
        if isinstance(answer, Attended):
            self.points[person] += EVENT_YEN
            self.budget_yen -= EVENT_YEN

    async def _attend(self, person: int) -> object:
        event_id = await make_event(self.engine, self.earned, amount_yen=EVENT_YEN)
        return await attend(self.teller, self.people[person], event_id)

    @rule(person=people, amount=st.integers(1, 250))
    def change(self, person: int, amount: int) -> None:
        """Change points into others, three for one."""
        answer = self.run(
            exchange(self.teller, self.people[person], self.earned, self.to, yen=amount)
        )
        received = amount // 3
        done = isinstance(answer, Exchanged)
        assert done == (received > 0 and received * 3 <= self.points[person])
        if done:
            self.points[person] -= received * 3
            self.budget_yen += received * 3  # It can be earned once more.
            self.others[person] += received

    def teardown(self) -> None:
        """Compare every wallet with the model, and prove the city."""
        if hasattr(self, "people"):
            self.run(self._compare())

    async def _compare(self) -> None:
        for number, person in enumerate(self.people):
            for programme, model in (
                (self.code, self.coin),
                (self.earned, self.points),
                (self.to, self.others),
            ):
                purses = await purses_in(self.engine, person.wallet_id, programme)
                assert sum(one[2] for one in purses) == model[number], programme
                held = self._held(number) if programme == self.code else 0
                assert sum(one[3] for one in purses) == held, programme
        proof = await prove(self.engine, now_us=NOW_US)
        assert proof.ok, failed(proof.checks)


def test_any_history_leaves_every_yen_where_the_model_has_it(
    module_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Requirement(require=(Acr.DEV,), max_age_s=300)
    monkeypatch.setattr(give, "requirement", lambda **_: plain)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        city = runner.run(
            stack.enter_async_context(make_city(module_database.application_url, yen=0))
        )
        PointsMachine.world = World(runner, city)
        try:
            run_state_machine_as_test(
                PointsMachine,
                settings=settings(max_examples=8, stateful_step_count=20, deadline=None),
            )
        finally:
            runner.run(stack.aclose())
