"""``/app/v1/factors…``: what a person signs in and confirms with; each change takes a confirmation.

Only in the first minutes of a new account, on the phone that opened it, is none asked for.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.problems import ProblemError
from wallet.api.resident import (
    ActiveResident,
    AnyResident,
    AppAnswer,
    AppBody,
    AppRoute,
    Resident,
    answer,
    approve,
    documented,
    rooms_of,
    write_recorded,
)
from wallet.api.resident_bodies import (
    Code,
    Credential,
    Name,
    NewPassword,
    Pin,
    VerifiedKeyBody,
    credential_text,
)
from wallet.auth.create_challenge import enrolled_levels
from wallet.auth.enrol_device import change_verified_key
from wallet.auth.passkeys import (
    begin_passkey_registration,
    finish_passkey_registration,
    list_passkeys,
    revoke_passkey,
)
from wallet.auth.password_quality import Owner, judge, normalised
from wallet.auth.passwords import set_password
from wallet.auth.pin import set_pin
from wallet.auth.proofs import base64url
from wallet.auth.recovery_codes import count_recovery_codes, issue_recovery_codes
from wallet.auth.rules import Acr
from wallet.auth.totp import confirm_totp, enrol_totp, remove_totp
from wallet.core.database import read, write
from wallet.core.refusals import RefusedError
from wallet.people.changes import permit_change
from wallet.people.contacts import list_contacts
from wallet.people.persons import settle_tier

router = APIRouter(prefix="/factors", route_class=AppRoute)

T = TypeVar("T")
_CHANGE = documented(403, 404, 409, 423, 429)


class PasskeyAnswer(AppAnswer):
    """A passkey; ``backed_up`` says that its maker keeps copies."""

    id: str
    name: str
    backed_up: bool
    created_at: datetime


class FactorsAnswer(AppAnswer):
    """What is enrolled, and the levels that can be reached with it."""

    levels: list[str]
    passkeys: list[PasskeyAnswer]
    recovery_codes_left: int


class PinBody(AppBody):
    """The new PIN of this device."""

    pin: Pin


class TotpAnswer(AppAnswer):
    """A secret for an authenticator app, to type or to show as a QR code; once."""

    secret: str
    uri: str


class TotpBody(AppBody):
    """The first code that the app shows."""

    code: Code


class OptionsAnswer(AppAnswer):
    """What to call ``navigator.credentials.create`` with."""

    options: dict[str, Any]


class PasskeyBody(AppBody):
    """The passkey that was made, and what its owner calls it."""

    credential: Credential
    name: Name


class NewPasswordBody(AppBody):
    """The new password."""

    password: NewPassword


class RecoveryCodesAnswer(AppAnswer):
    """Ten codes for a sheet of paper; told once."""

    codes: list[str]


async def change(
    request: Request,
    resident: Resident,
    what: str,
    work: Callable[[AsyncConnection, int], Awaitable[T]],
) -> T:
    """Make a change of how somebody signs in, in the transaction that uses the confirmation up."""
    rooms = rooms_of(request)
    approval, now_us = await approve(request, resident, change=what), rooms.clock()

    async def permitted(connection: AsyncConnection) -> T:
        await permit_change(
            connection,
            caller=resident.caller,
            approval=approval,
            because=what,
            now_us=now_us,
        )
        return await work(connection, now_us)

    return await write_recorded(
        request, permitted, action="factor.change", whose=resident.person.id, what=what
    )


@router.get("", responses=documented(), summary="List my factors", operation_id="list_factors")
async def list_(request: Request, resident: AnyResident) -> FactorsAnswer:
    """List what is enrolled."""
    person_id = resident.person.id
    async with read(rooms_of(request).engine) as connection:
        levels = await enrolled_levels(connection, principal_id=person_id)
        passkeys = await list_passkeys(connection, principal_id=person_id)
        left = await count_recovery_codes(connection, principal_id=person_id)
    return FactorsAnswer(
        levels=[level for level in Acr if level in levels],
        passkeys=[
            PasskeyAnswer(
                id=base64url(one.credential_id),
                name=one.name,
                backed_up=one.backed_up,
                created_at=one.created_at,
            )
            for one in passkeys
        ],
        recovery_codes_left=left,
    )


@router.put(
    "/pin",
    status_code=204,
    responses=_CHANGE,
    summary="Set the PIN of this device",
    operation_id="set_pin",
)
async def put_pin(request: Request, resident: ActiveResident, body: PinBody) -> None:
    """Set six digits that mean something on this phone only."""
    pepper, device_id = rooms_of(request).pepper, resident.caller.device_id
    if device_id is None:
        raise ProblemError("signed_out")

    async def work(connection: AsyncConnection, now_us: int) -> None:
        person_id = resident.person.id
        contacts = await list_contacts(connection, person_id=person_id, pepper=pepper)
        await set_pin(
            connection,
            device_id=device_id,
            pin=body.pin,
            known=[one.value for one in contacts.values()],
            pepper=pepper,
            now_us=now_us,
        )
        await settle_tier(connection, person_id=person_id)

    await change(request, resident, "pin", work)


@router.put(
    "/verified-key",
    status_code=204,
    responses=_CHANGE,
    summary="Set the second key of this device",
    operation_id="set_verified_key",
)
async def put_verified_key(
    request: Request, resident: ActiveResident, body: VerifiedKeyBody
) -> None:
    """Set the key that the phone lends to its user's finger or face, as after enrolling it anew."""
    key, device_id = body.key(), resident.caller.device_id
    if device_id is None:
        raise ProblemError("signed_out")

    async def work(connection: AsyncConnection, now_us: int) -> None:
        await change_verified_key(
            connection,
            principal_id=resident.person.id,
            device_id=device_id,
            verified_key=key,
            now_us=now_us,
        )
        await settle_tier(connection, person_id=resident.person.id)

    await change(request, resident, "verified_key", work)


@router.post(
    "/totp",
    status_code=201,
    responses=_CHANGE,
    summary="Begin with an authenticator app",
    operation_id="begin_totp",
)
async def begin_totp(request: Request, resident: ActiveResident) -> TotpAnswer:
    """Return a secret; it is in force once its first code was seen."""
    rooms = rooms_of(request)

    async def work(connection: AsyncConnection, now_us: int) -> TotpAnswer:
        enrolment = await enrol_totp(
            connection,
            principal_id=resident.person.id,
            account_name=resident.person.support_code,
            issuer=rooms.site.name,
            pepper=rooms.pepper,
            now_us=now_us,
        )
        return TotpAnswer(secret=enrolment.secret, uri=enrolment.uri)

    return await change(request, resident, "totp", work)


@router.post(
    "/totp/confirm",
    status_code=204,
    responses=_CHANGE,
    summary="Put the authenticator app into force",
    operation_id="confirm_totp",
)
async def put_totp(request: Request, resident: ActiveResident, body: TotpBody) -> None:
    """Check the first code of a secret that a confirmation has let out a few minutes ago."""
    rooms = rooms_of(request)
    work = partial(
        confirm_totp,
        principal_id=resident.person.id,
        code=body.code,
        pepper=rooms.pepper,
        now_us=rooms.clock(),
    )
    answer(await write(rooms.engine, work))


@router.delete(
    "/totp",
    status_code=204,
    responses=_CHANGE,
    summary="Remove the authenticator app",
    operation_id="remove_totp",
)
async def delete_totp(request: Request, resident: ActiveResident) -> None:
    """Take the authenticator app away."""

    async def work(connection: AsyncConnection, now_us: int) -> None:
        await remove_totp(connection, principal_id=resident.person.id, now_us=now_us)

    await change(request, resident, "totp", work)


@router.post(
    "/passkeys/options",
    responses=documented(423),
    summary="Begin with a passkey",
    operation_id="begin_passkey",
)
async def passkey_options(request: Request, resident: ActiveResident) -> OptionsAnswer:
    """Return what to ask the phone or the security key; writes nothing."""
    rooms = rooms_of(request)
    async with read(rooms.engine) as connection:
        options = await begin_passkey_registration(
            connection,
            site=rooms.site,
            principal_id=resident.person.id,
            user_name=resident.person.support_code,
            pepper=rooms.pepper,
            now_us=rooms.clock(),
        )
    return OptionsAnswer(options=options)


@router.post(
    "/passkeys",
    status_code=201,
    responses=_CHANGE,
    summary="Add a passkey",
    operation_id="add_passkey",
)
async def add_passkey(
    request: Request, resident: ActiveResident, body: PasskeyBody
) -> PasskeyAnswer:
    """Keep the passkey that was made."""
    rooms = rooms_of(request)

    async def work(connection: AsyncConnection, now_us: int) -> PasskeyAnswer:
        made = await finish_passkey_registration(
            connection,
            site=rooms.site,
            principal_id=resident.person.id,
            credential=credential_text(body.credential),
            name=body.name,
            pepper=rooms.pepper,
            now_us=now_us,
        )
        return PasskeyAnswer(
            id=base64url(made.credential_id),
            name=made.name,
            backed_up=made.backed_up,
            created_at=made.created_at,
        )

    return await change(request, resident, "passkey", work)


@router.delete(
    "/passkeys/{passkey_id}",
    status_code=204,
    responses=_CHANGE,
    summary="Remove a passkey",
    operation_id="remove_passkey",
)
async def delete_passkey(request: Request, resident: ActiveResident, passkey_id: str) -> None:
    """Take a passkey's power."""
    try:
        credential_id = base64.urlsafe_b64decode(passkey_id + "==")
    except (binascii.Error, ValueError):
        raise ProblemError("passkey_unknown") from None

    async def work(connection: AsyncConnection, now_us: int) -> None:
        await revoke_passkey(
            connection,
            principal_id=resident.person.id,
            credential_id=credential_id,
            now_us=now_us,
        )

    await change(request, resident, "passkey", work)


@router.put(
    "/password",
    status_code=204,
    responses=_CHANGE,
    summary="Set the password for desktops",
    operation_id="set_password",
)
async def put_password(request: Request, resident: ActiveResident, body: NewPasswordBody) -> None:
    """Set a password; it never signs in alone.

    It is judged before the confirmation is used up, and everything cools off before it is set.
    """
    rooms = rooms_of(request)
    owner = await _owner(request, resident)
    await _judge(request, body.password, owner)

    async def cool(connection: AsyncConnection, now_us: int) -> int:
        del connection
        return now_us

    now_us = await change(request, resident, "password", cool)
    await set_password(
        rooms.engine,
        gate=rooms.gate,
        principal_id=resident.person.id,
        password=body.password,
        owner=owner,
        breached=rooms.breached,
        pepper=rooms.pepper,
        now_us=now_us,
    )


@router.post(
    "/recovery-codes",
    status_code=201,
    responses=_CHANGE,
    summary="Get a new sheet of recovery codes",
    operation_id="issue_recovery_codes",
)
async def recovery_codes(request: Request, resident: ActiveResident) -> RecoveryCodesAnswer:
    """Return ten codes, told once; an older sheet is void."""
    pepper = rooms_of(request).pepper

    async def work(connection: AsyncConnection, now_us: int) -> list[str]:
        return await issue_recovery_codes(
            connection, principal_id=resident.person.id, pepper=pepper, now_us=now_us
        )

    return RecoveryCodesAnswer(codes=await change(request, resident, "recovery_codes", work))


async def _owner(request: Request, resident: Resident) -> Owner:
    """Return what a password must not be about; a second factor always stands beside it."""
    rooms = rooms_of(request)
    async with read(rooms.engine) as connection:
        contacts = await list_contacts(
            connection, person_id=resident.person.id, pepper=rooms.pepper
        )
    known = (*(one.value for one in contacts.values()), resident.person.support_code)
    return Owner(known=known, second_factor=True)


async def _judge(request: Request, password: str, owner: Owner) -> None:
    rooms, normal = rooms_of(request), normalised(password)
    if normal is None:
        raise ProblemError("password_unusable")
    async with rooms.gate.place() as place:
        refusal = await place.run(judge, normal, owner=owner, breached=rooms.breached)
    if refusal is not None:
        raise RefusedError(refusal.code, **refusal.facts)
