"""Payments, asked of the teller as the till's door asks."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace
from sqlalchemy import text

from tests.factories import stops
from tests.factories.city import City
from tests.factories.people import make_wallet
from tests.factories.vouchers import give
from wallet.core.database import read, write
from wallet.core.ids import align_id, keyed_hash, new_id
from wallet.core.refusals import Refusal
from wallet.ops import stop
from wallet.payments.pay import Paid, Pay, Refused
from wallet.payments.rules import CARD, CPM_CODE, Payment, PayRequest

PAY: Final = Pay()

_TRACES = text("""
SELECT ARRAY(SELECT p.account_id || ' ' || b.debits_posted || ' ' || b.credits_posted
             FROM purse AS p JOIN balance AS b ON b.account_id = p.account_id
             WHERE p.wallet_id = :wallet_id ORDER BY 1),
       (SELECT spent_on || ' ' || spent_yen FROM spending WHERE holder_id = :wallet_id),
       (SELECT count(*) FROM transfer),
       (SELECT count(*) FROM payment),
       (SELECT count(*) FROM idempotency_key),
       (SELECT count(*) FROM outbox),
       (SELECT count(*) FROM one_time_code WHERE burnt_by IS NOT NULL)
""")


async def make_payer(
    city: City,
    *,
    yen: int = 10_000,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> UUID:
    """Open a wallet with ``yen`` of free money and return its id."""
    wallet_id = await make_wallet(city.engine, **changes)
    if yen:
        await give(city.teller, wallet_id, amount_yen=yen)
    return wallet_id


def by_code(city: City, code: str, **changes: Any) -> PayRequest:  # noqa: ANN401 - as above
    """Return a request of the city's merchant for 1,000 yen, with an id and a key of its own."""
    return _request(city, CPM_CODE, code, changes)


def by_card(city: City, qr_value: str, **changes: Any) -> PayRequest:  # noqa: ANN401 - as above
    """Return a request like :func:`by_code` for whoever shows a card."""
    return _request(city, CARD, qr_value, changes)


def _request(city: City, instrument: str, value: str, changes: dict[str, Any]) -> PayRequest:
    payment_id = _payment_id(city)
    fields: dict[str, Any] = {
        "payment_id": payment_id,
        "merchant_id": city.merchant.id,
        "idempotency_key": f"key-{payment_id.hex}",
        "merchant_payment_id": f"receipt-{payment_id.hex}",
        "terminal_id": city.merchant.terminal_id,
        "amount_yen": 1_000,
        "instrument": instrument,
        "instrument_hash": keyed_hash(value, pepper=city.pepper),
        "description": None,
    }
    return PayRequest(**{**fields, **changes})


def _payment_id(city: City) -> UUID:
    return align_id(new_id(now_us=city.clock()))


def again(
    city: City,
    request: PayRequest,
    **changes: Any,  # noqa: ANN401 - as above
) -> PayRequest:
    """Return what the door makes of a repeat: the same request under a new payment id."""
    return replace(request, payment_id=_payment_id(city), **changes)


async def fresh(
    city: City,
    wallet_id: UUID,
    **changes: Any,  # noqa: ANN401 - as above
) -> PayRequest:
    """Return a request with a fresh code of the wallet."""
    (code,) = await city.codes(wallet_id=wallet_id)
    return by_code(city, code, **changes)


async def ask_to_pay(city: City, request: PayRequest) -> Paid | Refused:
    """Submit one request and return the answer."""
    (answer,) = await ask_together(city, [request])
    return answer


async def ask_together(city: City, requests: Sequence[PayRequest]) -> list[Paid | Refused]:
    """Submit the requests at once and return the answers; one lane settles them as one batch."""
    futures = [city.teller.submit(PAY, request) for request in requests]
    answers: list[Paid | Refused] = await asyncio.gather(*futures)
    return answers


async def pay(city: City, request: PayRequest) -> Payment:
    """Have a request paid, or fail the test."""
    answer = await ask_to_pay(city, request)
    assert isinstance(answer, Paid), answer
    assert answer.payment.refusal is None, answer
    return answer.payment


async def declined(city: City, request: PayRequest) -> Refusal:
    """Return why a payment was recorded as declined."""
    answer = await ask_to_pay(city, request)
    assert isinstance(answer, Paid), answer
    assert answer.payment.refusal is not None, answer
    return answer.payment.refusal


async def refused(city: City, request: PayRequest) -> Refusal:
    """Return why nothing at all was recorded."""
    answer = await ask_to_pay(city, request)
    assert isinstance(answer, Refused), answer
    return answer.refusal


async def traces(city: City, wallet_id: UUID) -> tuple[Any, ...]:
    """Return all that a payment could change: purses, counters, and how many rows there are."""
    async with read(city.engine) as connection:
        row = (await connection.execute(_TRACES, {"wallet_id": wallet_id})).one()
        return tuple(row)


async def change(city: City, statement: str, **values: object) -> None:
    """Run one statement of the application's role, such as one that freezes a wallet."""
    await write(city.engine, lambda connection: connection.execute(text(statement), values))


async def engage(city: City, scope: str) -> None:
    """Stop money in a scope."""
    await write(
        city.engine,
        lambda connection: stop.engage(
            connection, scope=scope, reason="a test", actor="cli:tests", now_us=city.clock()
        ),
    )


async def release(city: City, scope: str) -> None:
    """Let money in a scope flow again."""
    await write(
        city.engine,
        lambda connection: stops.release(
            connection, scope=scope, reason="a test", actor="cli:tests", now_us=city.clock()
        ),
    )
