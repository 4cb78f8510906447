"""A way to each code of the catalogue, for a caller who comes through the door.

Every way is its own request in a city of its own people, so that they can be gone in any order.
"""

from collections.abc import Awaitable, Callable
from datetime import date
from functools import partial
from types import MappingProxyType
from typing import Any, Final
from uuid import uuid4

import httpx2 as httpx

from tests.api import (
    benefit_codes,
    campaign_codes,
    card_codes,
    coupon_codes,
    people_codes,
    points_codes,
    programme_codes,
    purse_codes,
    receipt_codes,
    staff_codes,
)
from tests.factories.approvals import ABOVE, ask, claim_of, code_of, later, make_rich
from tests.factories.merchants import Merchant, make_merchant
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.payments import change, engage, make_payer, release
from tests.factories.people import make_card
from tests.factories.programmes import free_draft, make_programme
from tests.factories.residents import Resident, within
from tests.factories.tills import PAYMENTS, Till
from tests.factories.vouchers import give
from wallet.auth.pass_challenge import FAILURES_MAX
from wallet.core.clock import MICROSECONDS, TestClock
from wallet.core.ids import parse_public_id, public_id
from wallet.merchants.issue_api_key import issue_api_key
from wallet.payments.by_phone import AnswerChallenge
from wallet.payments.issue_codes import EXPIRES_S
from wallet.payments.rules import WAITS_S
from wallet.people.cool_off import cool_off

Way = Callable[[Till], Awaitable[httpx.Response]]

FREEZE: Final = "UPDATE wallet SET state = 'frozen' WHERE id = :id"


async def body_of(till: Till, *, amount_yen: int = 1_000, **payer: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of many types
    """Return a body for a payer of its own who shows a fresh code."""
    wallet_id = await make_payer(till.city, **payer)
    (code,) = await till.city.codes(wallet_id=wallet_id)
    return till.body(code, amount={"amount": amount_yen, "currency": "JPY"})


async def _balance_insufficient(till: Till) -> httpx.Response:
    return await till.pay(await body_of(till, yen=800))


async def _limit_payment(till: Till) -> httpx.Response:
    return await till.pay(await body_of(till, payment_limit_yen=999))


async def _limit_daily(till: Till) -> httpx.Response:
    return await till.pay(await body_of(till, daily_limit_yen=999))


async def _restricted(till: Till, **terms: Any) -> httpx.Response:  # noqa: ANN401 - as above
    programme = f"only-{uuid4()}"
    await make_programme(till.city.teller, free_draft(programme, **terms))
    wallet_id = await make_payer(till.city, yen=0)
    await give(till.city.teller, wallet_id, programme, amount_yen=1_000)
    (code,) = await till.city.codes(wallet_id=wallet_id)
    return await till.pay(till.body(code))


async def _merchant_not_eligible(till: Till) -> httpx.Response:
    return await _restricted(till, categories=frozenset({"books"}))


async def _outside_period(till: Till) -> httpx.Response:
    return await _restricted(till, first_day=date(2026, 12, 1))


async def _code_unknown(till: Till) -> httpx.Response:
    return await till.pay(till.body("code_nobody"))


async def _code_used(till: Till) -> httpx.Response:
    body = await body_of(till)
    await till.pay(body)
    return await till.pay({**body, "merchant_payment_id": str(uuid4())})


async def _code_expired(till: Till) -> httpx.Response:
    body = await body_of(till)
    clock = till.city.clock
    assert isinstance(clock, TestClock)
    clock.now_us = NOW_US + EXPIRES_S * MICROSECONDS
    try:
        return await till.pay(body)
    finally:
        clock.now_us = NOW_US


def _card(value: str) -> dict[str, Any]:
    return {"type": "card", "value": value}


async def _card_unknown(till: Till) -> httpx.Response:
    return await till.pay(till.body("", instrument=_card("card_nobody")))


async def _card_blocked(till: Till) -> httpx.Response:
    card = await make_card(till.city.engine, await make_payer(till.city))
    await change(till.city, "UPDATE card SET state = 'blocked' WHERE id = :id", id=card.id)
    return await till.pay(till.body("", instrument=_card(card.qr_value)))


async def _wallet_frozen(till: Till) -> httpx.Response:
    wallet_id = await make_payer(till.city)
    (code,) = await till.city.codes(wallet_id=wallet_id)
    await change(till.city, FREEZE, id=wallet_id)
    return await till.pay(till.body(code))


async def _asked(till: Till) -> tuple[Resident, dict[str, Any], httpx.Response]:
    """Have a code scanned whose payer is asked on their phone."""
    payer = await make_rich(till.city)
    amount = {"amount": ABOVE, "currency": "JPY"}
    body = till.body(await code_of(till.city, payer), amount=amount)
    return payer, body, await till.pay(body)


async def _confirmation_expired(till: Till) -> httpx.Response:
    _, body, _ = await _asked(till)
    async with later(till.city, seconds=WAITS_S):
        return await till.pay(body)


async def _confirmation_failed(till: Till) -> httpx.Response:
    payer, body, told = await _asked(till)
    payment_id = parse_public_id("pay", told.json()["id"])
    assert payment_id is not None
    for _ in range(FAILURES_MAX):
        sender = claim_of(till.city, payer.phone)
        await ask(till.city, AnswerChallenge(payment_id, sender, b"", None))
    return await till.pay(body)


async def _confirmation_unavailable(till: Till) -> httpx.Response:
    card = await make_card(till.city.engine, await make_payer(till.city), payment_limit_yen=ABOVE)
    amount = {"amount": ABOVE, "currency": "JPY"}
    return await till.pay(till.body("", instrument=_card(card.qr_value), amount=amount))


async def _counter_only(till: Till) -> httpx.Response:
    return await till.pay(await body_of(till, amount_yen=40_001))


async def _limit_cooling_off(till: Till) -> httpx.Response:
    payer = await make_rich(till.city)
    cool = partial(cool_off, person_id=payer.id, because="test", now_us=NOW_US)
    await within(till.city.engine, cool)
    amount = {"amount": ABOVE, "currency": "JPY"}
    return await till.pay(till.body(await code_of(till.city, payer), amount=amount))


async def _service_stopped(till: Till) -> httpx.Response:
    await engage(till.city, "pay")
    try:
        return await till.pay(await body_of(till))
    finally:
        await release(till.city, "pay")


async def _terminal_unknown(till: Till) -> httpx.Response:
    body = await body_of(till)
    return await till.pay({**body, "terminal_id": public_id("ter", uuid4())})


async def pay_at(till: Till, merchant: Merchant) -> httpx.Response:
    """Ask for a payment as another merchant."""
    body = await body_of(till)
    terminal = {"terminal_id": public_id("ter", merchant.terminal_id)}
    return await till.pay({**body, **terminal}, Authorization=f"Bearer {merchant.api_key}")


async def _merchant_suspended(till: Till) -> httpx.Response:
    merchant = await make_merchant(till.city.engine, till.city.teller)
    await change(
        till.city, "UPDATE merchant SET state = 'suspended' WHERE id = :id", id=merchant.id
    )
    return await pay_at(till, merchant)


async def _idempotency_conflict(till: Till) -> httpx.Response:
    body = await body_of(till)
    await till.pay(body)
    return await till.pay({**body, "amount": {"amount": 999, "currency": "JPY"}})


async def _payment_unknown(till: Till) -> httpx.Response:
    return await till.get(f"{PAYMENTS}/{public_id('pay', uuid4())}")


async def _error_unknown(till: Till) -> httpx.Response:
    return await till.client.get("/errors/unheard_of")


async def _unauthenticated(till: Till) -> httpx.Response:
    return await till.pay(till.body("code_nobody"), Authorization=None)


async def _key_wrong_mode(till: Till) -> httpx.Response:
    key = await issue_api_key(
        till.city.engine,
        merchant_id=till.city.merchant.id,
        livemode=True,
        pepper=PEPPER,
        now_us=NOW_US,
    )
    return await till.pay(till.body("code_nobody"), Authorization=f"Bearer {key.key}")


async def _idempotency_key_missing(till: Till) -> httpx.Response:
    return await till.pay(till.body("code_nobody"), Idempotency_Key=None)


async def _idempotency_key_invalid(till: Till) -> httpx.Response:
    return await till.pay(till.body("code_nobody"), Idempotency_Key="two words")


async def _media_type_unsupported(till: Till) -> httpx.Response:
    return await till.send(b"{}", Content_Type="text/plain")


async def _body_too_large(till: Till) -> httpx.Response:
    return await till.send(b" " * 20_000)


async def _body_malformed(till: Till) -> httpx.Response:
    return await till.send(b"amount=1000")


async def _body_invalid(till: Till) -> httpx.Response:
    return await till.send(b"{}")


async def _parameter_invalid(till: Till) -> httpx.Response:
    return await till.get(f"{PAYMENTS}?limit=0")


async def _not_found(till: Till) -> httpx.Response:
    return await till.get("/v1/coffee")


async def _method_not_allowed(till: Till) -> httpx.Response:
    return await till.client.delete(PAYMENTS, headers=till.headers())


WAYS: Final = MappingProxyType[str, Way](
    {
        "balance_insufficient": _balance_insufficient,
        "body_invalid": _body_invalid,
        "body_malformed": _body_malformed,
        "body_too_large": _body_too_large,
        "card_blocked": _card_blocked,
        "card_unknown": _card_unknown,
        "code_expired": _code_expired,
        "code_unknown": _code_unknown,
        "code_used": _code_used,
        "confirmation_expired": _confirmation_expired,
        "confirmation_failed": _confirmation_failed,
        "confirmation_unavailable": _confirmation_unavailable,
        "counter_only": _counter_only,
        "error_unknown": _error_unknown,
        "idempotency_conflict": _idempotency_conflict,
        "idempotency_key_invalid": _idempotency_key_invalid,
        "idempotency_key_missing": _idempotency_key_missing,
        "key_wrong_mode": _key_wrong_mode,
        "limit_cooling_off": _limit_cooling_off,
        "limit_daily": _limit_daily,
        "limit_payment": _limit_payment,
        "media_type_unsupported": _media_type_unsupported,
        "merchant_not_eligible": _merchant_not_eligible,
        "merchant_suspended": _merchant_suspended,
        "method_not_allowed": _method_not_allowed,
        "not_found": _not_found,
        "outside_period": _outside_period,
        "parameter_invalid": _parameter_invalid,
        "payment_unknown": _payment_unknown,
        "service_stopped": _service_stopped,
        "terminal_unknown": _terminal_unknown,
        "unauthenticated": _unauthenticated,
        "wallet_frozen": _wallet_frozen,
    }
)
"""By code, how to be told it."""

ELSEWHERE: Final = MappingProxyType(
    {
        **people_codes.ELSEWHERE,
        **points_codes.ELSEWHERE,
        **staff_codes.ELSEWHERE,
        **programme_codes.ELSEWHERE,
        **receipt_codes.ELSEWHERE,
        **purse_codes.ELSEWHERE,
        **benefit_codes.ELSEWHERE,
        **card_codes.ELSEWHERE,
        **coupon_codes.ELSEWHERE,
        **campaign_codes.ELSEWHERE,
        "body_too_slow": "tests/api/test_bodies.py sends one that never ends for it",
        "internal_error": "tests/api/test_failures.py breaks the database for it",
        "overloaded": "tests/api/test_failures.py fills the queue for it",
        "payment_not_allowed": "no rule of risk refuses a payment yet",
        "result_unknown": "tests/api/test_failures.py loses the connection for it",
        "unavailable": "tests/api/test_failures.py takes the database away for it",
    }
)
"""Codes that no request alone leads to, and why."""
