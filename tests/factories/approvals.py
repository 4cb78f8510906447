"""Phones that pay and approve, asked of the teller as the resident's till asks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID, uuid4

from tests.factories.city import City
from tests.factories.moments import PEPPER
from tests.factories.payments import PAY, by_code
from tests.factories.phones import Phone
from tests.factories.residents import Resident, make_resident, row_of
from tests.factories.vouchers import give
from wallet.auth.queries import Waiting as Challenge
from wallet.auth.queries import list_challenges
from wallet.auth.recognise import Claim, read_claim
from wallet.auth.rules import Acr, FactorClass
from wallet.core.clock import MICROSECONDS, TestClock, to_datetime
from wallet.core.database import read
from wallet.core.ids import align_id, new_id
from wallet.core.refusals import Refusal
from wallet.payments.by_phone import AnswerChallenge, PayByPhone
from wallet.payments.issue_codes import GivenTo, issue_codes
from wallet.payments.pay import Answer, Paid, Refused
from wallet.payments.rules import Level, Payment, PayRequest

ABOVE: Final = 6_000
"""Yen for which a new city asks for more than a code."""

PATH: Final = "/app/v1/payments"
CLASSES: Final = (FactorClass.KNOWLEDGE, FactorClass.POSSESSION)


async def make_rich(city: City, *, yen: int = 30_000) -> Resident:
    """Enrol somebody by their phone and give them free money."""
    resident = await make_resident(city.engine, now_us=city.clock())
    await give(city.teller, resident.wallet_id, amount_yen=yen)
    return resident


async def code_of(
    city: City,
    resident: Resident,
    *,
    acr: Acr | None = None,
    seconds_ago: int = 0,
    wallet_id: UUID | None = None,
    helper_id: UUID | None = None,
) -> str:
    """Give a phone a code, as after its holder has shown what ``acr`` takes some time ago."""
    now_us = city.clock()
    at = to_datetime(now_us - seconds_ago * MICROSECONDS)
    level = None if acr is None else Level(acr, CLASSES, at)
    (code,) = await issue_codes(
        city.engine,
        wallet_ids=[wallet_id or resident.wallet_id],
        pepper=city.pepper,
        now_us=now_us,
        given_to=GivenTo(resident.phone.device_id, helper_id, level),
    )
    return code


async def shown_by(
    city: City,
    resident: Resident,
    *,
    code: str | None = None,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> PayRequest:
    """Return a merchant's request for a code of the phone, above what a code pays by itself."""
    code = code or await code_of(city, resident)
    return by_code(city, code, **{"amount_yen": ABOVE, **changes})


async def ask(city: City, request: object) -> Answer:
    """Submit one request and return the answer."""
    (answer,) = await ask_at_once(city, [request])
    return answer


async def ask_at_once(city: City, requests: Sequence[object]) -> list[Answer]:
    """Submit the requests at once and return the answers, in one batch where there is one lane."""
    answers: list[Answer] = await asyncio.gather(
        *(city.teller.submit(PAY, request) for request in requests)
    )
    return answers


async def waiting(city: City, request: PayRequest) -> Payment:
    """Have a request wait for its payer, or fail the test."""
    answer = await ask(city, request)
    assert isinstance(answer, Paid), answer
    assert answer.payment.waiting is not None, answer
    return answer.payment


def claim_of(
    city: City,
    phone: Phone,
    *,
    path: str = PATH,
    body: bytes = b"{}",
    **changes: Any,  # noqa: ANN401 - as above
) -> Claim:
    """Return what a request of the phone says of its sender, or fail the test."""
    now_us = city.clock()
    token = phone.tokens.access_token
    headers = phone.soft.headers("POST", path, access_token=token, now_us=now_us, body=body)
    arguments: dict[str, Any] = {
        "authorization": headers["authorization"],
        "proof": headers["dpop"],
        "method": "POST",
        "path": path,
        "body": body,
        "pepper": PEPPER,
        "now_us": now_us,
    }
    claim = read_claim(**{**arguments, **changes})
    assert claim is not None
    return claim


async def challenges_of(city: City, phone: Phone) -> list[Challenge]:
    """Return what the phone is asked to approve, the newest first."""
    async with read(city.engine) as connection:
        return await list_challenges(
            connection,
            principal_id=phone.principal_id,
            device_id=phone.device_id,
            now_us=city.clock(),
        )


async def signed_answer(
    city: City,
    phone: Phone,
    payment: Payment,
    **changes: Any,  # noqa: ANN401 - as above
) -> AnswerChallenge:
    """Return the phone's answer after its holder's finger, with the number on the shop's screen."""
    shown = {one.id: one for one in await challenges_of(city, phone)}
    challenge = shown[payment.id].challenge if payment.id in shown else b""
    fields: dict[str, Any] = {
        "challenge_id": payment.id,
        "sender": claim_of(city, phone),
        "signature": phone.soft.sign_challenge(challenge),
        "number": None if payment.waiting is None else payment.waiting.number,
    }
    return AnswerChallenge(**{**fields, **changes})


async def approve(city: City, phone: Phone, payment: Payment) -> Payment:
    """Approve a payment that waits, or fail the test."""
    answer = await ask(city, await signed_answer(city, phone, payment))
    assert isinstance(answer, Paid), answer
    assert answer.payment.state == "succeeded", answer
    return answer.payment


def by_phone(
    city: City,
    phone: Phone,
    **changes: Any,  # noqa: ANN401 - as above
) -> PayByPhone:
    """Return a phone's request to pay the city's merchant, above what a phone pays by itself."""
    fields: dict[str, Any] = {
        "payment_id": align_id(new_id(now_us=city.clock())),
        "sender": claim_of(city, phone),
        "idempotency_key": f"key-{uuid4()}",
        "terminal_id": city.merchant.terminal_id,
        "amount_yen": ABOVE,
        "wallet_id": None,
        "step_up_id": None,
        "pepper": city.pepper,
    }
    return PayByPhone(**{**fields, **changes})


@asynccontextmanager
async def later(city: City, *, seconds: float) -> AsyncIterator[None]:
    """Let some time pass, and come back to now."""
    clock = city.clock
    assert isinstance(clock, TestClock)
    clock.advance(seconds=seconds)
    try:
        yield
    finally:
        clock.advance(seconds=-seconds)


async def told(city: City, request: object) -> Refusal:
    """Return why nothing was decided, or fail the test."""
    answer = await ask(city, request)
    assert isinstance(answer, Refused), answer
    return answer.refusal


async def left_of(city: City, resident: Resident) -> int:
    """Return what is in somebody's purses, in yen."""
    row = await row_of(
        city.engine,
        "SELECT sum(b.credits_posted - b.debits_posted)::bigint AS yen FROM purse AS p"
        " JOIN balance AS b ON b.account_id = p.account_id WHERE p.wallet_id = :id",
        id=resident.wallet_id,
    )
    return int(row["yen"])
