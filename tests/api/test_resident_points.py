"""The app's doors of points: giving, claiming, attending, walking, exchanging, as a phone does."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.api.answers import problem_of
from tests.factories.city import City
from tests.factories.moments import PEPPER
from tests.factories.pockets import V1, Pocket, open_pocket
from tests.factories.points import (
    TODAY,
    make_coin,
    make_event,
    make_person,
    make_points,
    make_rule,
    sell,
    yen_in,
)
from tests.factories.residents import Resident, person_of, within
from tests.factories.vouchers import give as issue
from wallet.core.ids import public_id
from wallet.points.codes import new_event_code
from wallet.programmes.terms import Exchange as Rate

pytestmark = pytest.mark.asyncio(loop_scope="module")

FREEZE = text("UPDATE person SET state = 'frozen', frozen_because = 'counter' WHERE id = :id")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pocket(city: City) -> AsyncIterator[Pocket]:
    """Yield the app's doors in the module's city."""
    async with open_pocket(city) as pocket:
        yield pocket


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def coin(city: City) -> str:
    """Create a coin that may be given away."""
    return await make_coin(city.teller)


async def make_giver(pocket: Pocket, coin: str) -> Resident:
    """Return somebody with 10,000 yen of the coin."""
    giver = await make_person(pocket.city.engine)
    await sell(pocket.city.teller, giver, coin, yen=10_000)
    return giver


async def give(
    pocket: Pocket,
    giver: Resident,
    coin: str,
    *,
    to: str | None,
    yen: int = 1_000,
    key: str | None = None,
    **headers: str,
) -> httpx.Response:
    """Ask for a gift as a phone does."""
    body: dict[str, Any] = {"programme": coin, "amount_yen": yen}
    if to is not None:
        body["to"] = to
    sent = {"idempotency_key": key or str(uuid4()), **headers}
    return await pocket.app.call(giver.phone, "POST", f"{V1}/gifts", body, **sent)


async def approved(
    pocket: Pocket, giver: Resident, coin: str, *, to: str | None, yen: int = 1_000
) -> dict[str, Any]:
    """Give, and show what is asked for."""
    key = str(uuid4())
    first = await give(pocket, giver, coin, to=to, yen=yen, key=key)
    challenge = problem_of(first, "step_up_required")
    assert (await pocket.sign(giver.phone, challenge)).status_code == 200
    step_up = challenge["challenge_id"]
    second = await give(pocket, giver, coin, to=to, yen=yen, key=key, step_up=step_up)
    assert second.status_code == 201, second.text
    gift: dict[str, Any] = second.json()
    return gift


async def code_of(pocket: Pocket, resident: Resident) -> str:
    """Return somebody's support code, written as people write it."""
    code = (await person_of(pocket.city.engine, resident.id)).support_code
    return f"{code[:4].lower()}-{code[4:]}"


async def post(
    pocket: Pocket, who: Resident, path: str, body: dict[str, Any], **headers: str
) -> httpx.Response:
    """Send a body to a door."""
    return await pocket.app.call(who.phone, "POST", f"{V1}{path}", body, **headers)


async def test_a_gift_to_a_new_payee_is_asked_for_and_made_once(pocket: Pocket, coin: str) -> None:
    giver, receiver = await make_giver(pocket, coin), await make_person(pocket.city.engine)
    to = await code_of(pocket, receiver)
    gift = await approved(pocket, giver, coin, to=to)
    assert (gift["state"], gift["amount_yen"], gift["code"]) == ("given", 1_000, None)
    assert await yen_in(pocket.city.engine, receiver, coin) == 1_000
    known = await give(pocket, giver, coin, to=to, yen=500)
    assert known.status_code == 201  # No new payee any more, and little enough.
    listed = (await pocket.app.call(receiver.phone, "GET", f"{V1}/gifts")).json()["data"]
    assert {one["direction"] for one in listed} == {"received"}
    assert sorted(one["amount_yen"] for one in listed) == [500, 1_000]


@pytest.mark.attack(20)
async def test_a_challenge_is_for_one_gift_and_good_once(pocket: Pocket, coin: str) -> None:
    giver, receiver = await make_giver(pocket, coin), await make_person(pocket.city.engine)
    to, key = await code_of(pocket, receiver), str(uuid4())
    challenge = problem_of(await give(pocket, giver, coin, to=to, key=key), "step_up_required")
    told = {"amount_yen": 1_000, "programme": coin, "to": to.replace("-", "").upper()}
    assert challenge["summary"] == told
    step_up = challenge["challenge_id"]
    early = await give(pocket, giver, coin, to=to, key=key, step_up=step_up)
    problem_of(early, "step_up_not_passed")
    await pocket.sign(giver.phone, challenge)
    other = await give(pocket, giver, coin, to=to, yen=1_001, key=key, step_up=step_up)
    problem_of(other, "step_up_mismatch")
    made = await asyncio.gather(
        *[give(pocket, giver, coin, to=to, key=key, step_up=step_up) for _ in range(4)]
    )
    assert {one.status_code for one in made} == {201}
    assert len({one.json()["id"] for one in made}) == 1
    assert await yen_in(pocket.city.engine, receiver, coin) == 1_000


async def test_a_gift_by_code_is_told_again_claimed_and_over(pocket: Pocket, coin: str) -> None:
    giver, claimer = await make_giver(pocket, coin), await make_person(pocket.city.engine)
    gift = await approved(pocket, giver, coin, to=None)
    assert gift["state"] == "waiting"
    claimed = await post(pocket, claimer, "/gifts/claim", {"code": gift["code"]})
    assert claimed.status_code == 200, claimed.text
    assert (claimed.json()["direction"], claimed.json()["code"]) == ("received", None)
    assert await yen_in(pocket.city.engine, claimer, coin) == 1_000
    late = await pocket.app.call(giver.phone, "DELETE", f"{V1}/gifts/{gift['id']}")
    problem_of(late, "gift_claimed")


async def test_a_gift_that_waits_is_taken_back(pocket: Pocket, coin: str) -> None:
    giver, claimer = await make_giver(pocket, coin), await make_person(pocket.city.engine)
    gift = await approved(pocket, giver, coin, to=None)
    path = f"{V1}/gifts/{gift['id']}"
    taken = await pocket.app.call(giver.phone, "DELETE", path)
    assert (taken.status_code, taken.json()["state"]) == (200, "cancelled")
    late = await post(pocket, claimer, "/gifts/claim", {"code": gift["code"]})
    problem_of(late, "gift_over")
    strange, nobodys = [
        problem_of(await pocket.app.call(claimer.phone, "DELETE", one), "gift_unknown")
        for one in (path, f"{V1}/gifts/{public_id('gft', uuid4())}")
    ]
    for name in ("instance", "support_code"):  # They name the request.
        assert strange.pop(name) != nobodys.pop(name)
    assert strange == nobodys


@pytest.mark.attack(8)
async def test_who_guesses_at_codes_is_stopped(pocket: Pocket, coin: str) -> None:
    guesser = await make_giver(pocket, coin)
    ways = [
        ("/gifts/claim", {"code": "gift_" + "a" * 32}, "gift_code_unknown"),
        ("/events/attend", {"code": "evc_" + "a" * 74}, "event_code_unknown"),
    ]
    for path, body, code in ways * 4:
        problem_of(await post(pocket, guesser, path, body), code)
    for _ in range(2):
        answer = await give(pocket, guesser, coin, to="2222-2222")
        problem_of(answer, "gift_receiver_unknown")
    for path, body, _ in ways:
        problem_of(await post(pocket, guesser, path, body), "too_many_tries")
    problem_of(await give(pocket, guesser, coin, to="2222-2222"), "too_many_tries")


async def test_ones_own_code_between_wrong_ones_opens_no_more_tries(
    pocket: Pocket, coin: str
) -> None:
    guesser = await make_giver(pocket, coin)
    own, wrong = await code_of(pocket, guesser), {"code": "gift_" + "a" * 32}
    for _ in range(10):
        problem_of(await give(pocket, guesser, coin, to=own), "gift_to_self")
        problem_of(await post(pocket, guesser, "/gifts/claim", wrong), "gift_code_unknown")
    problem_of(await post(pocket, guesser, "/gifts/claim", wrong), "too_many_tries")


async def test_a_repeat_of_a_gift_is_told_so_whatever_has_become_of_its_receiver(
    pocket: Pocket, coin: str
) -> None:
    giver, receiver = await make_giver(pocket, coin), await make_person(pocket.city.engine)
    to, key = await code_of(pocket, receiver), str(uuid4())
    await approved(pocket, giver, coin, to=to)
    made = await give(pocket, giver, coin, to=to, yen=500, key=key)
    assert made.status_code == 201, made.text
    for _ in range(10):
        await post(pocket, giver, "/gifts/claim", {"code": "gift_" + "a" * 32})
    closed = await give(pocket, giver, coin, to=to, yen=500, key=key)
    assert (closed.status_code, closed.json()) == (201, made.json())
    await within(pocket.city.engine, lambda c: c.execute(FREEZE, {"id": receiver.id}))
    frozen = await give(pocket, giver, coin, to=to, yen=500, key=key)
    assert (frozen.status_code, frozen.json()) == (201, made.json())
    problem_of(await give(pocket, giver, coin, to=to, yen=501, key=key), "idempotency_conflict")
    assert await yen_in(pocket.city.engine, receiver, coin) == 1_500


async def test_a_gift_needs_a_key_of_its_own(pocket: Pocket, coin: str) -> None:
    giver = await make_giver(pocket, coin)
    answer = await post(pocket, giver, "/gifts", {"programme": coin, "amount_yen": 1})
    problem_of(answer, "idempotency_key_missing")


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("123456789018", "my_number_refused"),
        ("\u0000", "gift_receiver_unknown"),
        ("ＡＡＡＡ", "gift_receiver_unknown"),
        ("a" * 21, "request_invalid"),
    ],
)
async def test_what_names_nobody_is_refused(pocket: Pocket, coin: str, to: str, code: str) -> None:
    giver = await make_giver(pocket, coin)
    problem_of(await give(pocket, giver, coin, to=to), code)


async def test_an_event_brings_its_points(pocket: Pocket) -> None:
    points = await make_points(pocket.city.teller)
    event_id = await make_event(pocket.city.engine, points)
    person = await make_person(pocket.city.engine)
    body = {"code": new_event_code(event_id, day=TODAY, pepper=PEPPER)}
    for _ in range(2):  # A repeat is told the same.
        answer = await post(pocket, person, "/events/attend", body)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "event": "清掃活動",
            "programme": points,
            "amount_yen": 100,
            "expires_on": "2027-03-31",
        }
    assert await yen_in(pocket.city.engine, person, points) == 100


async def test_steps_earn_and_offers_say_what(pocket: Pocket) -> None:
    points, to = [await make_points(pocket.city.teller) for _ in range(2)]
    rich = await make_points(pocket.city.teller, exchanges=[Rate(to=to, times=1, per=2)])
    await make_rule(pocket.city.engine, points)
    person = await make_person(pocket.city.engine)
    offers = (await pocket.app.call(person.phone, "GET", f"{V1}/points/offers")).json()
    assert {"programme": rich, "to": to, "times": 1, "per": 2} in offers["exchanges"]
    (rule,) = [one for one in offers["steps"] if one["programme"] == points]
    assert rule["ladder"] == [{"steps": 4_000, "yen": 2}, {"steps": 7_000, "yen": 5}]
    body = {"programme": points, "day": TODAY.isoformat(), "steps": 7_123}
    answer = await post(pocket, person, "/steps", body)
    assert answer.json() == {**body, "rewarded_yen": 5, "earned_yen": 5}
    late = await post(pocket, person, "/steps", {**body, "day": "2026-11-24"})
    problem_of(late, "steps_not_today")
    problem_of(await post(pocket, person, "/steps", {**body, "steps": -1}), "request_invalid")


async def test_points_are_exchanged_once_for_a_key(pocket: Pocket) -> None:
    to = await make_points(pocket.city.teller)
    points = await make_points(pocket.city.teller, exchanges=[Rate(to=to, times=1, per=2)])
    person = await make_person(pocket.city.engine)
    await issue(pocket.city.teller, person.wallet_id, points, amount_yen=1_000)
    body = {"programme": points, "to": to, "amount_yen": 301}
    answers = [
        await post(pocket, person, "/exchanges", body, idempotency_key="one") for _ in range(2)
    ]
    assert {answer.status_code for answer in answers} == {201}
    assert answers[0].json() == answers[1].json()
    assert (answers[0].json()["given_yen"], answers[0].json()["received_yen"]) == (300, 150)
    held = [await yen_in(pocket.city.engine, person, one) for one in (points, to)]
    assert held == [700, 150]
    back = {**body, "programme": to, "to": points}
    refused = await post(pocket, person, "/exchanges", back, idempotency_key="two")
    problem_of(refused, "exchange_not_allowed")


@pytest.mark.attack(25)
async def test_nobody_sees_the_gifts_of_others(pocket: Pocket, coin: str) -> None:
    giver, other = await make_giver(pocket, coin), await make_person(pocket.city.engine)
    gift = await approved(pocket, giver, coin, to=None)
    listed = (await pocket.app.call(other.phone, "GET", f"{V1}/gifts")).json()["data"]
    assert listed == []
    (own,) = (await pocket.app.call(giver.phone, "GET", f"{V1}/gifts")).json()["data"]
    assert (own["id"], own["code"]) == (gift["id"], None)
    assert public_id("per", giver.id) not in str(own)
