"""What a customer shows: one-time codes, cards, and the wallets behind them."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.factories.city import City, make_city
from tests.factories.moments import NOW_US
from tests.factories.payments import (
    ask_to_pay,
    ask_together,
    by_card,
    by_code,
    change,
    declined,
    engage,
    fresh,
    make_payer,
    pay,
    refused,
    release,
)
from tests.factories.people import make_card
from tests.factories.vouchers import purses_of
from tests.servers import Database
from wallet.core.clock import MICROSECONDS, TestClock
from wallet.core.database import read
from wallet.core.refusals import Refusal
from wallet.payments.issue_codes import EXPIRES_S
from wallet.payments.pay import Paid

pytestmark = pytest.mark.asyncio(loop_scope="module")

BURNT_BY = text("SELECT burnt_by FROM one_time_code WHERE code_hash = :code_hash")
FREEZE = "UPDATE wallet SET state = 'frozen' WHERE id = :id"


async def burnt_by(city: City, code_hash: bytes) -> UUID | None:
    """Return the payment that has used a code up."""
    async with read(city.engine) as connection:
        row = (await connection.execute(BURNT_BY, {"code_hash": code_hash})).one()
        burnt: UUID | None = row.burnt_by
        return burnt


async def test_a_code_nobody_was_issued_is_declined(city: City) -> None:
    request = by_code(city, "code_nobody")
    answer = await ask_to_pay(city, request)
    assert isinstance(answer, Paid)
    assert answer.payment.refusal == Refusal("code_unknown")
    assert answer.payment.wallet_id is None


@pytest.mark.attack(18)
async def test_a_code_pays_once(city: City) -> None:
    wallet_id = await make_payer(city)
    (code,) = await city.codes(wallet_id=wallet_id)
    payment = await pay(city, by_code(city, code))
    assert await declined(city, by_code(city, code)) == Refusal("code_used")
    assert await purses_of(city.engine, wallet_id) == {"coin free": 9_000}
    # The code stays with the payment it made, whoever scans it later.
    assert await burnt_by(city, payment.instrument_hash) == payment.id


async def test_a_code_that_was_declined_is_used_up_all_the_same(city: City) -> None:
    (code,) = await city.codes(wallet_id=await make_payer(city, yen=500))
    assert (await declined(city, by_code(city, code))).code == "balance_insufficient"
    assert await declined(city, by_code(city, code, amount_yen=500)) == Refusal("code_used")


@pytest.mark.attack(18)
async def test_the_second_scan_of_a_code_in_one_batch_is_told_it_is_used(city: City) -> None:
    wallet_id = await make_payer(city)
    (code,) = await city.codes(wallet_id=wallet_id)
    first, second = by_code(city, code), by_code(city, code)
    answers = await ask_together(city, [first, second])
    assert [one.payment.refusal for one in answers if isinstance(one, Paid)] == [
        None,
        Refusal("code_used"),
    ]
    assert await purses_of(city.engine, wallet_id) == {"coin free": 9_000}
    assert await burnt_by(city, first.instrument_hash) == first.payment_id


@pytest.mark.parametrize("declined_first", [False, True])
async def test_a_code_declined_in_a_batch_is_used_up_for_the_rest_of_it(
    city: City,
    declined_first: bool,  # noqa: FBT001 - given by name by the parameters above
) -> None:
    (code,) = await city.codes(wallet_id=await make_payer(city, yen=1_000))
    amounts = [1_001, 1_000] if declined_first else [1_000, 1_001]
    answers = await ask_together(city, [by_code(city, code, amount_yen=yen) for yen in amounts])
    codes = [a.payment.refusal and a.payment.refusal.code for a in answers if isinstance(a, Paid)]
    assert codes == ["balance_insufficient" if declined_first else None, "code_used"]


async def test_a_stop_does_not_use_a_code_up(city: City) -> None:
    request = await fresh(city, await make_payer(city))
    await engage(city, "pay")
    assert await refused(city, request) == Refusal("service_stopped")
    assert await burnt_by(city, request.instrument_hash) is None
    await release(city, "pay")
    await pay(city, request)


async def test_an_unknown_terminal_does_not_use_a_code_up(city: City) -> None:
    (code,) = await city.codes(wallet_id=await make_payer(city))
    request = by_code(city, code, terminal_id=city.wallet_id)
    assert await refused(city, request) == Refusal("terminal_unknown")
    await pay(city, by_code(city, code))


@pytest.mark.attack(18)
@pytest.mark.parametrize(
    ("early_us", "refusal"),
    [(1, None), (0, Refusal("code_expired")), (-1, Refusal("code_expired"))],
)
async def test_a_code_expires_at_its_very_moment(
    city: City, early_us: int, refusal: Refusal | None
) -> None:
    assert isinstance(city.clock, TestClock)
    request = await fresh(city, await make_payer(city))
    city.clock.now_us = NOW_US + EXPIRES_S * MICROSECONDS - early_us
    try:
        answer = await ask_to_pay(city, request)
    finally:
        city.clock.now_us = NOW_US
    assert isinstance(answer, Paid)
    assert answer.payment.refusal == refusal
    assert await burnt_by(city, request.instrument_hash) == request.payment_id


async def test_a_code_that_was_used_and_has_expired_is_told_to_be_used(
    module_database: Database,
) -> None:
    clock = TestClock(NOW_US)
    async with make_city(module_database.application_url, clock=clock) as city:
        await pay(city, by_code(city, city.code))
        clock.advance(seconds=EXPIRES_S)
        assert await declined(city, by_code(city, city.code)) == Refusal("code_used")


@pytest.mark.asvs("v5.0.0-14.2.4")
async def test_only_the_hash_of_a_code_is_kept(city: City) -> None:
    request = await fresh(city, await make_payer(city))
    payment = await pay(city, request)
    assert payment.instrument_hash == request.instrument_hash
    assert len(payment.instrument_hash) == 32


async def test_a_card_pays_again_and_again(city: City) -> None:
    wallet_id = await make_payer(city)
    card = await make_card(city.engine, wallet_id)
    for _ in range(3):
        assert (await pay(city, by_card(city, card.qr_value))).wallet_id == wallet_id
    assert await purses_of(city.engine, wallet_id) == {"coin free": 7_000}


async def test_a_card_nobody_was_issued_is_declined(city: City) -> None:
    assert await declined(city, by_card(city, "card_nobody")) == Refusal("card_unknown")


@pytest.mark.attack(18)
async def test_the_printed_number_of_a_card_pays_nothing(city: City) -> None:
    assert await declined(city, by_card(city, city.card.number)) == Refusal("card_unknown")


async def test_a_code_is_no_card_and_a_card_is_no_code(city: City) -> None:
    (code,) = await city.codes()
    assert await declined(city, by_card(city, code)) == Refusal("card_unknown")
    assert await declined(city, by_code(city, city.card.qr_value)) == Refusal("code_unknown")
    await pay(city, by_code(city, code))


@pytest.mark.parametrize("state", ["blocked", "replaced"])
async def test_a_card_that_is_not_active_pays_nothing(city: City, state: str) -> None:
    wallet_id = await make_payer(city)
    card = await make_card(city.engine, wallet_id)
    await change(city, "UPDATE card SET state = :state WHERE id = :id", state=state, id=card.id)
    assert await declined(city, by_card(city, card.qr_value)) == Refusal("card_blocked")
    # The wallet itself goes on paying.
    await pay(city, await fresh(city, wallet_id))


@pytest.mark.parametrize("state", ["frozen", "closed"])
async def test_a_wallet_that_is_not_active_pays_neither_by_code_nor_by_card(
    city: City, state: str
) -> None:
    wallet_id = await make_payer(city)
    card = await make_card(city.engine, wallet_id)
    request = await fresh(city, wallet_id)
    await change(city, "UPDATE wallet SET state = :state WHERE id = :id", state=state, id=wallet_id)
    assert await declined(city, request) == Refusal("wallet_frozen")
    assert await declined(city, by_card(city, card.qr_value)) == Refusal("wallet_frozen")


async def test_a_blocked_card_of_a_frozen_wallet_is_told_to_be_blocked(city: City) -> None:
    wallet_id = await make_payer(city)
    card = await make_card(city.engine, wallet_id)
    await change(city, FREEZE, id=wallet_id)
    await change(city, "UPDATE card SET state = 'blocked' WHERE id = :id", id=card.id)
    assert await declined(city, by_card(city, card.qr_value)) == Refusal("card_blocked")


async def test_a_code_and_a_card_of_one_wallet_spend_the_same_money(city: City) -> None:
    wallet_id = await make_payer(city, yen=1_500)
    card = await make_card(city.engine, wallet_id)
    code_request = await fresh(city, wallet_id)
    answers = await ask_together(city, [code_request, by_card(city, card.qr_value)])
    assert [one.payment.refusal for one in answers if isinstance(one, Paid)] == [
        None,
        Refusal("balance_insufficient", {"available_yen": 500, "missing_yen": 500}),
    ]


async def test_the_moment_of_a_payment_is_the_moment_it_was_settled(city: City) -> None:
    payment = await pay(city, await fresh(city, await make_payer(city)))
    assert payment.created_at == datetime.fromtimestamp(NOW_US / MICROSECONDS, UTC)
