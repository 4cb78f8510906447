"""Who is asked, who cannot be, and what holds whether or not anybody is: tiers, freezes, stops."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.factories.approvals import (
    ABOVE,
    approve,
    ask,
    challenges_of,
    code_of,
    later,
    left_of,
    make_rich,
    shown_by,
    signed_answer,
    waiting,
)
from tests.factories.city import City
from tests.factories.payments import (
    ask_together,
    by_card,
    by_code,
    change,
    declined,
    engage,
    make_payer,
    pay,
    refused,
    release,
    traces,
)
from tests.factories.people import make_card
from tests.factories.phones import make_phone
from tests.factories.planting import failed
from tests.factories.residents import Resident, make_resident, make_visitor, within
from tests.factories.vouchers import give
from wallet.auth.revoke_device import revoke_device
from wallet.auth.rules import Acr
from wallet.core.clock import to_datetime
from wallet.core.refusals import Refusal
from wallet.payments.pay import Paid
from wallet.people.cool_off import cool_off
from wallet.people.freeze import freeze
from wallet.people.helpers import Wanted, accept_help, invite_helper, revoke_help
from wallet.people.issue_cards import IssuedCard
from wallet.proof import prove

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNAVAILABLE = Refusal("confirmation_unavailable", {"acr_values": ["pin"]})
COOLS = Refusal("limit_cooling_off", {"limit_yen": 5_000})


async def large_card(city: City, wallet_id: UUID) -> IssuedCard:
    """Issue a card that may pay more than a card pays by itself."""
    return await make_card(city.engine, wallet_id, payment_limit_yen=50_000, daily_limit_yen=50_000)


async def test_a_card_asks_its_person_on_any_phone_of_theirs(city: City) -> None:
    payer = await make_rich(city)
    card = await large_card(city, payer.wallet_id)
    second = await make_phone(city.engine, principal_id=payer.id)
    payment = await waiting(city, by_card(city, card.qr_value, amount_yen=ABOVE))
    for phone in (payer.phone, second):
        assert [one.id for one in await challenges_of(city, phone)] == [payment.id]
    await approve(city, payer.phone, payment)
    assert await left_of(city, payer) == 30_000 - ABOVE


async def test_a_phone_that_cools_off_approves_little_of_a_card(city: City) -> None:
    payer = await make_rich(city)
    card = await large_card(city, payer.wallet_id)
    second = await make_phone(city.engine, principal_id=payer.id)
    payment = await waiting(city, by_card(city, card.qr_value, amount_yen=ABOVE))
    answer = await ask(city, await signed_answer(city, second, payment))
    assert isinstance(answer, Paid)
    assert answer.payment.refusal == COOLS


@pytest.mark.asvs("v5.0.0-6.3.4")
async def test_nobody_is_let_through_because_nobody_can_be_asked(city: City) -> None:
    wallet_id = await make_payer(city, yen=20_000)  # Known by its cards and codes only.
    card = await large_card(city, wallet_id)
    assert await declined(city, by_card(city, card.qr_value, amount_yen=ABOVE)) == UNAVAILABLE
    await pay(city, by_card(city, card.qr_value, amount_yen=5_000))


async def test_nobody_is_let_through_because_nothing_is_enrolled(city: City) -> None:
    visitor = await make_visitor(city.engine, "visitor@example.jp")
    await give(city.teller, visitor.wallet_id, amount_yen=10_000)
    assert await declined(city, await shown_by(city, visitor)) == UNAVAILABLE
    await pay(city, await shown_by(city, visitor, amount_yen=5_000))


async def test_what_another_phone_could_show_does_not_help_this_one(city: City) -> None:
    visitor = await make_visitor(city.engine, "other@example.jp")
    await make_phone(city.engine, principal_id=visitor.id)  # It has a second key.
    await give(city.teller, visitor.wallet_id, amount_yen=10_000)
    assert await declined(city, await shown_by(city, visitor)) == UNAVAILABLE


async def test_the_counter_takes_what_no_prompt_lets_through(city: City) -> None:
    payer = await make_rich(city, yen=90_000)
    await change(city, "UPDATE wallet SET payment_limit_yen = 100000, daily_limit_yen = 300000,"
                 " tier = 'T3' WHERE id = :id", id=payer.wallet_id)  # fmt: skip
    for acr in (Acr.PIN, Acr.JPKI):
        code = await code_of(city, payer, acr=acr)
        refusal = await declined(city, await shown_by(city, payer, code=code, amount_yen=40_001))
        assert refusal == Refusal("counter_only")
    code = await code_of(city, payer, acr=Acr.PIN)
    await pay(city, await shown_by(city, payer, code=code, amount_yen=40_000))


@pytest.mark.attack(12)
async def test_a_fourth_push_within_ten_minutes_is_not_sent(city: City) -> None:
    payer = await make_rich(city)
    card = await large_card(city, payer.wallet_id)
    for _ in range(3):
        await waiting(city, by_card(city, card.qr_value, amount_yen=ABOVE))
    before = await traces(city, payer.wallet_id)
    fourth = by_card(city, card.qr_value, amount_yen=ABOVE)
    assert (await refused(city, fourth)).code == "push_too_often"
    code = await code_of(city, payer)
    by_other_means = await shown_by(city, payer, code=code)
    assert (await refused(city, by_other_means)).code == "push_too_often"
    assert await traces(city, payer.wallet_id) == before
    assert len(await challenges_of(city, payer.phone)) == 3
    await pay(city, by_card(city, card.qr_value, amount_yen=5_000))
    async with later(city, seconds=601):
        await waiting(city, fourth)


async def test_pushes_of_one_batch_count_each_other(city: City) -> None:
    payer = await make_rich(city)
    card = await large_card(city, payer.wallet_id)
    requests = [by_card(city, card.qr_value, amount_yen=ABOVE) for _ in range(5)]
    answers = await ask_together(city, requests)
    assert [isinstance(one, Paid) for one in answers] == [True] * 3 + [False] * 2


async def test_somebody_who_would_be_declined_is_not_asked(city: City) -> None:
    payer = await make_rich(city, yen=1_000)
    refusal = await declined(city, await shown_by(city, payer))
    assert refusal.code == "balance_insufficient"
    assert await challenges_of(city, payer.phone) == []


async def cool(city: City, payer: Resident) -> None:
    """Let somebody's sign-in have changed just now."""
    await within(
        city.engine,
        lambda c: cool_off(c, person_id=payer.id, because="test", now_us=city.clock()),
    )


@pytest.mark.parametrize("instrument", ["code", "card"])
async def test_while_somebody_cools_off_payments_are_small(city: City, instrument: str) -> None:
    payer = await make_rich(city)
    card = await large_card(city, payer.wallet_id)
    await cool(city, payer)

    async def request(amount_yen: int) -> Any:  # noqa: ANN401 - a request
        if instrument == "card":
            return by_card(city, card.qr_value, amount_yen=amount_yen)
        code = await code_of(city, payer, acr=Acr.PHR)
        return by_code(city, code, amount_yen=amount_yen)

    assert await declined(city, await request(5_001)) == COOLS
    await pay(city, await request(5_000))
    async with later(city, seconds=12 * 3_600):
        if instrument == "code":
            await pay(city, await request(5_001))
        else:
            await waiting(city, await request(5_001))


async def test_a_new_phone_cools_off_though_its_person_does_not(city: City) -> None:
    payer = await make_rich(city)
    until = to_datetime(city.clock()) + timedelta(hours=1)
    await change(
        city,
        "UPDATE device SET cooling_until = :until WHERE id = :id",
        until=until,
        id=payer.phone.device_id,
    )
    code = await code_of(city, payer, acr=Acr.PHR)
    assert await declined(city, await shown_by(city, payer, code=code)) == COOLS


@pytest.mark.parametrize(("tier", "limit_yen"), [("T0", 10_000), ("T1", 30_000)])
async def test_a_tier_bounds_a_persons_payments_whatever_the_wallet_says(
    city: City, tier: str, limit_yen: int
) -> None:
    payer = await make_rich(city, yen=60_000)
    raised = (
        "UPDATE wallet SET tier = :tier, payment_limit_yen = 99999, daily_limit_yen = 99999"
        " WHERE id = :id"
    )
    await change(city, raised, tier=tier, id=payer.wallet_id)
    code = await code_of(city, payer, acr=Acr.PHR)
    refusal = await declined(city, await shown_by(city, payer, code=code, amount_yen=limit_yen + 1))
    assert refusal == Refusal("limit_payment", {"limit_yen": limit_yen})
    code = await code_of(city, payer, acr=Acr.PHR)
    await pay(city, await shown_by(city, payer, code=code, amount_yen=limit_yen))


async def test_a_frozen_person_pays_nothing_by_code_or_card(city: City) -> None:
    payer = await make_rich(city)
    card = await make_card(city.engine, payer.wallet_id)
    requests = [by_card(city, card.qr_value), await shown_by(city, payer, amount_yen=1_000)]
    await within(
        city.engine,
        lambda c: freeze(c, person_id=payer.id, because="own", now_us=city.clock()),
    )
    for request in requests:
        assert await declined(city, request) == Refusal("wallet_frozen")


async def test_the_codes_of_a_revoked_phone_pay_nothing(city: City) -> None:
    payer = await make_rich(city)
    request = await shown_by(city, payer, amount_yen=1_000)
    await within(
        city.engine,
        lambda c: revoke_device(
            c,
            principal_id=payer.id,
            device_id=payer.phone.device_id,
            because="lost",
            now_us=city.clock(),
        ),
    )
    assert await declined(city, request) == Refusal("code_expired")


@pytest.mark.parametrize("scope", ["tier:T1", "app-version:1.0.0"])
async def test_a_stop_of_some_people_or_apps_stops_their_codes_only(city: City, scope: str) -> None:
    payer = await make_rich(city)
    request = await shown_by(city, payer, amount_yen=1_000)
    await engage(city, scope)
    try:
        assert await refused(city, request) == Refusal("service_stopped")
        await pay(city, await of_a_resident(city))
    finally:
        await release(city, scope)
    await pay(city, request)


async def of_a_resident(city: City) -> Any:  # noqa: ANN401 - a request
    """Return a request of a wallet whose person the city has proven, by a code of no phone."""
    (code,) = await city.codes(wallet_id=await make_payer(city))
    return by_code(city, code)


async def test_a_stop_of_a_range_of_cards_stops_those_and_no_others(city: City) -> None:
    cards = sorted(
        [await make_card(city.engine, await make_payer(city)) for _ in range(3)],
        key=lambda card: card.number,
    )
    scope = f"card-range:{cards[0].number}-{cards[1].number}"
    requests = [by_card(city, card.qr_value) for card in cards]
    await engage(city, scope)
    try:
        for request in requests[:2]:
            assert await refused(city, request) == Refusal("service_stopped")
        await pay(city, requests[2])
        await pay(city, await of_a_resident(city))
    finally:
        await release(city, scope)
    await pay(city, requests[0])


async def proxy_of(city: City, owner: Resident, helper: Resident, **wanted: int) -> UUID:
    """Let somebody pay for somebody else, and return the id of that."""
    limits = {"payment_limit_yen": 8_000, "daily_limit_yen": 9_000, **wanted}
    invitation = await within(
        city.engine,
        lambda c: invite_helper(
            c,
            owner_id=owner.id,
            wallet_id=owner.wallet_id,
            wanted=Wanted(kind="proxy", **limits),
            pepper=city.pepper,
            now_us=city.clock(),
        ),
    )
    await within(
        city.engine,
        lambda c: accept_help(
            c,
            person_id=helper.id,
            code=invitation.code,
            pepper=city.pepper,
            now_us=city.clock(),
        ),
    )
    return invitation.helper_id


async def test_a_proxy_pays_within_their_own_limits_and_approves_themselves(city: City) -> None:
    owner, helper = await make_rich(city), await make_resident(city.engine)
    helper_id = await proxy_of(city, owner, helper)

    async def shown(amount_yen: int) -> Any:  # noqa: ANN401 - a request
        code = await code_of(city, helper, wallet_id=owner.wallet_id, helper_id=helper_id)
        return by_code(city, code, amount_yen=amount_yen)

    refusal = await declined(city, await shown(8_001))
    assert refusal == Refusal("limit_payment", {"limit_yen": 8_000})
    payment = await waiting(city, await shown(ABOVE))
    assert await challenges_of(city, owner.phone) == []
    paid = await approve(city, helper.phone, payment)
    assert paid.helper_id == helper_id
    refusal = await declined(city, await shown(3_001))
    assert refusal == Refusal("limit_daily", {"limit_yen": 9_000, "left_yen": 3_000})
    last = await shown(3_000)
    await within(
        city.engine,
        lambda c: revoke_help(c, person_id=owner.id, helper_id=helper_id, now_us=city.clock()),
    )
    assert await declined(city, last) == Refusal("payment_not_allowed")
    assert await left_of(city, owner) == 30_000 - ABOVE


async def test_a_frozen_proxy_pays_nothing_for_anybody(city: City) -> None:
    owner, helper = await make_rich(city), await make_resident(city.engine)
    helper_id = await proxy_of(city, owner, helper)
    code = await code_of(city, helper, wallet_id=owner.wallet_id, helper_id=helper_id)
    await within(
        city.engine,
        lambda c: freeze(c, person_id=helper.id, because="own", now_us=city.clock()),
    )
    assert await declined(city, by_code(city, code)) == Refusal("wallet_frozen")


async def test_whatever_was_asked_here_can_be_proved(city: City) -> None:
    proof = await prove(city.engine, now_us=city.clock())
    assert proof.ok, failed(proof.checks)
