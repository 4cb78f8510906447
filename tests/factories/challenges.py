"""Challenges to phones, and the answers that pass them."""

from functools import partial
from typing import Any, Final

import pyotp
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.factories.phones import Phone, caller_of
from tests.soft_authenticator import SoftAuthenticator
from wallet.auth.authenticate import Caller
from wallet.auth.create_challenge import create_challenge, make_challenge
from wallet.auth.evidence import Evidence, PinEntered, VerifiedKeySignature
from wallet.auth.pass_challenge import Passed, pass_challenge
from wallet.auth.passkeys import (
    Site,
    begin_passkey_registration,
    finish_passkey_registration,
)
from wallet.auth.pin import set_pin
from wallet.auth.revoke_device import revoke_device
from wallet.auth.rules import Acr, Operation, Requirement
from wallet.auth.step_up_storage import Challenge
from wallet.auth.totp import confirm_totp, enrol_totp
from wallet.core.clock import MICROSECONDS
from wallet.core.database import read, write
from wallet.core.refusals import Refusal
from wallet.settings import Settings

SITE: Final = Site.of(Settings())
PIN: Final = "274915"
FIELDS: Final[dict[str, Any]] = {
    "amount": 12_000, "currency": "JPY", "op": "payment", "payee": "mer_77", "payer": "wal_01",
}  # fmt: skip

_ROW = text("SELECT * FROM step_up WHERE id = :id")


def requires(*levels: Acr, max_age_s: int = 300) -> Requirement:
    """Return a requirement of these levels."""
    return Requirement(require=levels, max_age_s=max_age_s)


async def give_pin(engine: AsyncEngine, phone: Phone) -> None:
    """Set the phone's PIN."""
    work = partial(
        set_pin, device_id=phone.device_id, pin=PIN, known=(), pepper=PEPPER, now_us=NOW_US
    )
    await write(engine, work)


async def give_totp(engine: AsyncEngine, phone: Phone) -> pyotp.TOTP:
    """Enrol an authenticator app and return it."""
    who: dict[str, Any] = {"principal_id": phone.principal_id, "pepper": PEPPER, "now_us": NOW_US}
    begin = partial(enrol_totp, account_name="太郎", issuer="白鷺", **who)
    app = pyotp.TOTP((await write(engine, begin)).secret)
    code = app.at(NOW_US // MICROSECONDS)
    assert await write(engine, partial(confirm_totp, code=code, **who)) is None
    return app


async def give_passkey(engine: AsyncEngine, phone: Phone) -> SoftAuthenticator:
    """Register a passkey and return it."""
    authenticator = SoftAuthenticator()
    who: dict[str, Any] = {
        "site": SITE, "principal_id": phone.principal_id, "pepper": PEPPER, "now_us": NOW_US
    }  # fmt: skip
    options = await write(engine, partial(begin_passkey_registration, user_name="太郎", **who))
    finish = partial(
        finish_passkey_registration, credential=authenticator.create(options), name="p", **who
    )
    await write(engine, finish)
    return authenticator


def draft(
    phone: Phone,
    *levels: Acr,
    now_us: int = NOW_US,
    **changes: Any,  # noqa: ANN401 - arguments of many types
) -> Challenge:
    """Return a challenge to the phone for a payment, not written yet; ``pin`` by default."""
    arguments: dict[str, Any] = {
        "principal_id": phone.principal_id,
        "device_id": phone.device_id,
        "operation": Operation.SHOP,
        "fields": FIELDS,
        "summary": {"amount_yen": 12_000, "payee": "白鷺青果 本町店"},
        "requirement": requires(*(levels or (Acr.PIN,))),
        "now_us": now_us,
    }
    return make_challenge(**{**arguments, **changes})


async def write_down(
    engine: AsyncEngine, challenge: Challenge, *, offered: frozenset[Acr] = frozenset()
) -> Challenge:
    """Create a challenge that was drafted."""
    work = partial(create_challenge, challenge=challenge, offered=offered, now_us=NOW_US)
    return await write(engine, work)


async def challenge_to(
    engine: AsyncEngine,
    phone: Phone,
    *levels: Acr,
    offered: frozenset[Acr] = frozenset(),
    **changes: Any,  # noqa: ANN401 - as above
) -> Challenge:
    """Create a challenge to the phone."""
    return await write_down(engine, draft(phone, *levels, **changes), offered=offered)


def signed(phone: Phone, challenge: Challenge) -> VerifiedKeySignature:
    """Return what the phone answers after its owner's finger."""
    return VerifiedKeySignature(phone.soft.sign_challenge(challenge.challenge))


def typed(pin: str = PIN) -> PinEntered:
    """Return what somebody has typed."""
    return PinEntered(pin, PEPPER)


async def answer(
    engine: AsyncEngine,
    phone: Phone,
    challenge: Challenge,
    evidence: Evidence,
    *,
    caller: Caller | None = None,
    number: str | None = None,
    now_us: int = NOW_US,
) -> Passed | Refusal:
    """Answer a challenge by the phone, or as another caller."""
    work = partial(
        pass_challenge,
        challenge_id=challenge.id,
        caller=caller or await caller_of(engine, phone),
        evidence=evidence,
        number=number,
        now_us=now_us,
    )
    return await write(engine, work)


async def pass_by_finger(engine: AsyncEngine, phone: Phone, challenge: Challenge) -> Passed:
    """Pass a challenge, or fail the test."""
    passed = await answer(engine, phone, challenge, signed(phone, challenge))
    assert isinstance(passed, Passed), passed
    return passed


def code_of(answered: Passed | Refusal) -> str:
    """Return the code of a refusal, or fail the test."""
    assert isinstance(answered, Refusal), answered
    return answered.code


async def row_of(engine: AsyncEngine, challenge: Challenge) -> dict[str, Any]:
    """Return a challenge as it is stored."""
    async with read(engine) as connection:
        row = (await connection.execute(_ROW, {"id": challenge.id})).mappings().one()
        return dict(row)


async def revoke(engine: AsyncEngine, phone: Phone) -> None:
    """Revoke a phone."""
    work = partial(
        revoke_device,
        principal_id=phone.principal_id,
        device_id=phone.device_id,
        because="lost",
        now_us=NOW_US,
    )
    await write(engine, work)
