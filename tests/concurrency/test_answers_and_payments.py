"""Shops and phones at once for the same money: approvals, payments by phone, and the end of time.

Each pocket has a teller of its own, as strange to the tills' as another process is.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest

from tests.api.answers import problem_of
from tests.concurrency.rush import Rush
from tests.factories.approvals import ABOVE, code_of, later, left_of, make_rich
from tests.factories.pockets import Pocket, open_pocket
from tests.factories.residents import Resident
from tests.factories.tills import PAYMENTS
from wallet.payments.waiting import expire_waiting

OF_ABOVE = {"amount": ABOVE, "currency": "JPY"}


@pytest.fixture
async def pockets(rush: Rush) -> AsyncIterator[list[Pocket]]:
    """Yield two resident planes in the city of the rush."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_pocket(rush.city)) for _ in range(2)]


async def scanned(rush: Rush, payer: Resident) -> dict[str, Any]:
    """Have a code scanned for more than it pays by itself, and return what waits."""
    body = rush.tills[0].body(await code_of(rush.city, payer), amount=OF_ABOVE)
    response = await rush.tills[0].pay(body)
    assert response.status_code == 202, response.text
    told: dict[str, Any] = response.json()
    return told


async def listed(pocket: Pocket, payer: Resident) -> dict[str, dict[str, Any]]:
    """Return the challenges to somebody's phone, by their ids."""
    answer = await pocket.app.call(payer.phone, "GET", "/app/v1/challenges")
    return {one["id"]: one for one in answer.json()["data"]}


def outcomes(answers: Iterable[httpx.Response]) -> Counter[str]:
    """Return how often money moved, and how often each code was told."""
    return Counter(
        "paid" if one.status_code in {200, 201} else problem_of(one)["code"] for one in answers
    )


@pytest.mark.attack(27)
@pytest.mark.asvs("v5.0.0-15.4.2")
async def test_approvals_codes_and_phones_spend_the_last_yen_once(
    rush: Rush, pockets: list[Pocket]
) -> None:
    payer = await make_rich(rush.city, yen=10_000)
    told = [await scanned(rush, payer) for _ in range(3)]
    challenges = await listed(pockets[0], payer)
    approvals = [
        pockets[number % 2].sign(
            payer.phone,
            challenges[one["id"].replace("pay_", "chl_")],
            number=one["step_up"]["number"],
        )
        for number, one in enumerate(told)
    ]
    codes = [await code_of(rush.city, payer) for _ in range(20)]
    by_code = [rush.tills[n % 2].pay(rush.tills[0].body(code)) for n, code in enumerate(codes)]
    by_phone = [pockets[number % 2].pay(payer.phone) for number in range(20)]
    # Turns about, so that each kind meets each other one.
    calls = [*approvals, *(call for pair in zip(by_code, by_phone, strict=True) for call in pair)]
    answers = await asyncio.gather(*calls)
    approved = outcomes(answers[:3])["paid"]
    others = outcomes(answers[3:])["paid"]
    left_yen = await left_of(rush.city, payer)
    assert approved * ABOVE + others * 1_000 + left_yen == 10_000
    assert 0 <= left_yen < 1_000
    assert outcomes(answers) == {"paid": approved + others,
                                 "balance_insufficient": 43 - approved - others}  # fmt: skip


@pytest.mark.attack(19)
async def test_one_approval_sent_to_two_planes_at_once_pays_once(
    rush: Rush, pockets: list[Pocket]
) -> None:
    payer = await make_rich(rush.city)
    told = await scanned(rush, payer)
    challenge = (await listed(pockets[0], payer))[told["id"].replace("pay_", "chl_")]
    number = told["step_up"]["number"]
    answers = await asyncio.gather(
        *(pockets[n % 2].sign(payer.phone, challenge, number=number) for n in range(50))
    )
    assert outcomes(answers) == {"paid": 50}
    assert {one.json()["payment"]["id"] for one in answers} == {told["id"]}
    assert await left_of(rush.city, payer) == 30_000 - ABOVE


@pytest.mark.attack(19)
async def test_one_passed_challenge_named_to_two_planes_at_once_pays_once(
    rush: Rush, pockets: list[Pocket]
) -> None:
    payer, key = await make_rich(rush.city), str(uuid4())
    asked = await pockets[0].pay(payer.phone, amount_yen=ABOVE, key=key)
    challenge = problem_of(asked, "step_up_required")
    assert (await pockets[0].sign(payer.phone, challenge)).status_code == 200
    named = {"step_up": challenge["challenge_id"]}
    answers = await asyncio.gather(
        *(
            pockets[n % 2].pay(payer.phone, amount_yen=ABOVE, key=key, headers=named)
            for n in range(50)
        )
    )
    assert outcomes(answers) == {"paid": 50}
    assert len({one.json()["id"] for one in answers}) == 1
    assert await left_of(rush.city, payer) == 30_000 - ABOVE


async def test_a_payment_under_one_key_by_one_phone_is_made_once(
    rush: Rush, pockets: list[Pocket]
) -> None:
    payer, key = await make_rich(rush.city), str(uuid4())
    answers = await asyncio.gather(*(pockets[n % 2].pay(payer.phone, key=key) for n in range(50)))
    assert outcomes(answers) == {"paid": 50}
    assert len({one.json()["id"] for one in answers}) == 1
    assert await left_of(rush.city, payer) == 29_000


async def test_what_is_due_is_declined_once_whoever_finds_it(
    rush: Rush, pockets: list[Pocket]
) -> None:
    payers = [await make_rich(rush.city) for _ in range(10)]
    told = [await scanned(rush, payer) for payer in payers]
    challenges = [
        (await listed(pockets[0], payer))[one["id"].replace("pay_", "chl_")]
        for payer, one in zip(payers, told, strict=True)
    ]
    async with later(rush.city, seconds=180):
        answers = [
            pockets[n % 2].sign(payer.phone, challenge, number=one["step_up"]["number"])
            for n, (payer, challenge, one) in enumerate(zip(payers, challenges, told, strict=True))
        ]
        sweeps = [expire_waiting(rush.city.engine, now_us=rush.city.clock()) for _ in range(4)]
        swept, late = await asyncio.gather(asyncio.gather(*sweeps), asyncio.gather(*answers))
        assert sum(swept) <= len(payers)
        assert outcomes(late) == {"confirmation_expired": len(payers)}
        for one in told:
            seen = (await rush.tills[0].get(f"{PAYMENTS}/{one['id']}")).json()
            assert (seen["final"], seen["declined_because"]) == (True, "confirmation_expired")
    assert [await left_of(rush.city, payer) for payer in payers] == [30_000] * len(payers)


@pytest.mark.attack(20)
async def test_two_shops_ask_and_one_phone_answers_crosswise(
    rush: Rush, pockets: list[Pocket]
) -> None:
    payers = [await make_rich(rush.city) for _ in range(8)]
    told = [[await scanned(rush, payer) for _ in range(2)] for payer in payers]
    calls = []
    for payer, pair in zip(payers, told, strict=True):
        challenges = await listed(pockets[0], payer)
        for turn, one in enumerate(pair):
            challenge = challenges[one["id"].replace("pay_", "chl_")]
            for n in range(2):
                pocket = pockets[(turn + n) % 2]
                number = one["step_up"]["number"]
                calls.append(pocket.sign(payer.phone, challenge, number=number))
    assert outcomes(await asyncio.gather(*calls)) == {"paid": len(calls)}
    left = [await left_of(rush.city, payer) for payer in payers]
    assert left == [30_000 - 2 * ABOVE] * len(payers)


async def test_a_payment_is_decided_once_for_the_answer_and_the_repeat(
    rush: Rush, pockets: list[Pocket]
) -> None:
    payer = await make_rich(rush.city)
    body = rush.tills[0].body(await code_of(rush.city, payer), amount=OF_ABOVE)
    key = str(uuid4())
    told = (await rush.tills[0].pay(body, Idempotency_Key=key)).json()
    challenge = (await listed(pockets[0], payer))[told["id"].replace("pay_", "chl_")]
    repeats = [rush.tills[n % 2].pay(body, Idempotency_Key=key) for n in range(30)]
    answer = pockets[0].sign(payer.phone, challenge, number=told["step_up"]["number"])
    answers = await asyncio.gather(*repeats[:15], answer, *repeats[15:])
    assert {one.status_code for one in answers} <= {200, 201, 202}
    ids = {one.json().get("id") or one.json()["payment"]["id"] for one in answers}
    assert ids == {told["id"]}
    last = await rush.tills[1].pay(body, Idempotency_Key=key)
    assert (last.status_code, last.json()["status"]) == (201, "succeeded")
    assert last.json()["id"] == told["id"]
