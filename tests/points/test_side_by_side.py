"""Gifts, claims, events, exchanges and payments of the same people at once, from two tellers."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.factories.city import make_city, open_rooms
from tests.factories.moments import NOW_US
from tests.factories.payments import ask_to_pay, by_code
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
    sell,
    settle,
    yen_in,
)
from tests.factories.vouchers import give as issue
from tests.servers import Database
from wallet.auth.rules import Acr, Requirement
from wallet.points import give
from wallet.points.claim import Claim
from wallet.points.give import Gave
from wallet.programmes.terms import Exchange as Rate
from wallet.proof import prove

ROUNDS = 4


async def test_everything_at_once_is_answered_and_conserves_every_yen(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Requirement(require=(Acr.DEV,), max_age_s=300)
    monkeypatch.setattr(give, "requirement", lambda **_: plain)
    async with (
        make_city(database.application_url) as city,
        open_rooms(database.application_url) as (_, other),
    ):
        coin, to = await make_coin(city.teller), await make_points(city.teller)
        points = await make_points(city.teller, exchanges=[Rate(to=to, times=1, per=1)])
        event_id = await make_event(city.engine, points)
        people = [await make_person(city.engine) for _ in range(5)]
        for person in people:
            await sell(city.teller, person, coin, yen=5_000)
            await issue(city.teller, person.wallet_id, points, amount_yen=100)
        pairs = list(zip(people, [*people[1:], people[0]], strict=True))
        asked: list[Coroutine[Any, Any, object]] = []
        for number in range(ROUNDS):
            teller = (city.teller, other)[number % 2]
            for giver, receiver in pairs:
                code = hash_of(new_gift_code())
                waits = gift_of(giver, None, coin, yen=100, code_hash=code)
                assert isinstance(await answer_to(teller, waits), Gave)
                (shown,) = await city.codes(wallet_id=receiver.wallet_id)
                asked += [
                    answer_to(teller, gift_of(giver, receiver, coin, yen=50)),
                    settle(teller, Claim(receiver.id, code)),
                    attend(teller, giver, event_id),
                    exchange(teller, receiver, points, to, yen=5),
                    ask_to_pay(city, by_code(city, shown, amount_yen=10)),
                ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert not [one for one in answers if isinstance(one, BaseException)]
        assert sum(isinstance(one, Gave) for one in answers) == 2 * ROUNDS * len(people)
        held = sum([await yen_in(city.engine, one, coin) for one in people])
        spent = sum([await yen_in(city.engine, one, points) for one in people])
        changed = sum([await yen_in(city.engine, one, to) for one in people])
        paid = ROUNDS * len(people) * 10
        assert held + spent + changed == 5 * 5_000 + 5 * 100 + 5 * 100 - paid
        proof = await prove(city.engine, now_us=NOW_US)
        assert proof.ok, failed(proof.checks)
