"""``/office/v1/me``: what is a member's own: who they are here, their sessions, their passkeys."""

import base64
import binascii
from typing import Annotated, Final

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_forms import Line, Out, credential_text, read_id
from wallet.api.office_guard import Own, OwnSignIn
from wallet.api.office_openapi import REFUSALS
from wallet.api.office_sign_in import CredentialIn, OptionsOut
from wallet.api.problems import ProblemError
from wallet.auth.passkeys import (
    NAME_CHARACTERS_MAX,
    Passkey,
    begin_passkey_registration,
    finish_passkey_registration,
    list_passkeys,
    revoke_passkey,
)
from wallet.auth.queries import list_sessions
from wallet.auth.revoke_sessions import revoke_session
from wallet.auth.staff_policy import policy
from wallet.auth.staff_queries import lock_member
from wallet.core.clock import rfc3339, to_microseconds
from wallet.core.database import read
from wallet.core.ids import public_id
from wallet.core.refusals import RefusedError

router = APIRouter(prefix="/office/v1/me", tags=["staff: one's own"], responses=REFUSALS)

ADD_PASSKEY: Final = "staff.add_passkey"
REMOVE_PASSKEY: Final = "staff.remove_passkey"


class MeOut(Out):
    """Who the caller is here and what their roles permit."""

    staff_id: str
    display_name: str
    department: str
    roles: list[str]
    permissions: list[str]


class SessionOut(Out):
    """A session that is open; ``current`` is the one that asks."""

    id: str
    current: bool
    opened_at: str
    refreshed_at: str
    expires_at: str


class PasskeyOut(Out):
    """A passkey; ``backed_up`` says that its maker keeps copies."""

    id: str
    name: str
    backed_up: bool
    created_at: str


class PasskeyIn(CredentialIn):
    """A passkey that was made, and what to call it."""

    name: Annotated[Line, Field(min_length=1, max_length=NAME_CHARACTERS_MAX)]


@router.get("", summary="Get who one is")
async def me(acting: Own) -> MeOut:
    """Return the caller, for the page to show only what they may do."""
    member = acting.member
    return MeOut(
        staff_id=acting.actor,
        display_name=member.display_name,
        department=member.department,
        roles=sorted(member.roles),
        permissions=sorted(policy().permissions_of(member.roles)),
    )


@router.get("/sessions", summary="List one's sessions")
async def sessions(acting: Own) -> list[SessionOut]:
    """Return the caller's open sessions."""
    async with read(acting.office.engine) as connection:
        found = await list_sessions(connection, principal_id=acting.member.id, now_us=acting.now_us)
    return [
        SessionOut(
            id=public_id("ses", one.id),
            current=one.id == acting.session.session_id,
            opened_at=rfc3339(to_microseconds(one.opened_at)),
            refreshed_at=rfc3339(to_microseconds(one.rotated_at)),
            expires_at=rfc3339(to_microseconds(one.expires_at)),
        )
        for one in found
    ]


@router.delete("/sessions/{session_id}", status_code=204, summary="End one of one's sessions")
async def end_session(acting: Own, session_id: str) -> None:
    """End a session of the caller's, such as one left open elsewhere."""
    parsed = read_id("ses", session_id, "session_unknown")

    async def work(connection: AsyncConnection) -> None:
        ended = await revoke_session(
            connection,
            principal_id=acting.member.id,
            session_id=parsed,
            because="ended_elsewhere",
            now_us=acting.now_us,
        )
        if not ended:
            raise RefusedError("session_unknown")

    await acting.act("staff.end_session", work)


@router.get("/passkeys", summary="List one's passkeys")
async def passkeys(acting: Own) -> list[PasskeyOut]:
    """Return the caller's passkeys."""
    async with read(acting.office.engine) as connection:
        found = await list_passkeys(connection, principal_id=acting.member.id)
    return [_passkey(one) for one in found]


@router.post("/passkeys/options", summary="Begin to add a passkey")
async def passkey_options(acting: OwnSignIn) -> OptionsOut:
    """Return the options for a further passkey, such as a spare security key."""
    office = acting.office
    async with read(office.engine) as connection:
        options = await begin_passkey_registration(
            connection,
            site=office.site,
            principal_id=acting.member.id,
            user_name=acting.member.display_name,
            pepper=office.pepper,
            now_us=acting.now_us,
        )
    return OptionsOut(options=options)


@router.post("/passkeys", status_code=201, summary="Add a passkey")
async def add_passkey(acting: OwnSignIn, body: PasskeyIn) -> PasskeyOut:
    """Keep a further passkey of the caller's."""
    office = acting.office

    async def work(connection: AsyncConnection) -> Passkey:
        return await finish_passkey_registration(
            connection,
            site=office.site,
            principal_id=acting.member.id,
            credential=credential_text(body.credential),
            name=body.name,
            pepper=office.pepper,
            now_us=acting.now_us,
        )

    added = await acting.act(
        ADD_PASSKEY, work, tell=lambda passkey: {"backed_up": int(passkey.backed_up)}
    )
    return _passkey(added)


@router.delete("/passkeys/{passkey_id}", status_code=204, summary="Remove a passkey")
async def remove_passkey(acting: OwnSignIn, passkey_id: str) -> None:
    """Take a passkey's power; the last one stays, for without any nobody could come back."""
    credential_id = _credential_id(passkey_id)

    async def work(connection: AsyncConnection) -> None:
        await lock_member(connection, acting.member.id)  # Of two at once, each sees the other's.
        held = await list_passkeys(connection, principal_id=acting.member.id)
        if [one.credential_id for one in held] == [credential_id]:
            raise RefusedError("passkey_last")
        await revoke_passkey(
            connection,
            principal_id=acting.member.id,
            credential_id=credential_id,
            now_us=acting.now_us,
        )

    await acting.act(REMOVE_PASSKEY, work)


def _passkey(passkey: Passkey) -> PasskeyOut:
    return PasskeyOut(
        id=base64.urlsafe_b64encode(passkey.credential_id).rstrip(b"=").decode(),
        name=passkey.name,
        backed_up=passkey.backed_up,
        created_at=rfc3339(to_microseconds(passkey.created_at)),
    )


def _credential_id(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ProblemError("passkey_unknown") from None
