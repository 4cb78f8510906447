"""``/office/v1``: staff enrol, sign in, and show their passkey again."""

import logging
from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.api.office_forms import Credential, In, Line, Out, credential_text
from wallet.api.office_guard import Office, Own, Work, office_of
from wallet.api.office_openapi import ANYBODY, REFUSALS
from wallet.api.problems import ProblemError
from wallet.auth.passkeys import NAME_CHARACTERS_MAX, begin_passkey_sign_in
from wallet.auth.refresh_session import Request as RefreshRequest
from wallet.auth.refresh_session import refresh_session
from wallet.auth.revoke_sessions import revoke_session
from wallet.auth.staff_accounts import Codes
from wallet.auth.staff_sign_in import (
    Attempt,
    begin_enrolment,
    finish_enrolment,
    reauthenticate,
    sign_in,
)
from wallet.auth.tokens import TOKEN_CHARACTERS_MAX, Tokens
from wallet.core.database import write
from wallet.core.ids import public_id
from wallet.core.refusals import Refusal, RefusedError
from wallet.ops.audit import Entry, append, append_refused

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/office/v1", tags=["staff: signing in"], responses=REFUSALS)

SIGN_IN: Final = "staff.sign_in"

T = TypeVar("T")


class CredentialIn(In):
    """A passkey's answer."""

    credential: Credential


class RefreshIn(In):
    """The token that came with the last access token."""

    refresh_token: Annotated[str, Field(max_length=TOKEN_CHARACTERS_MAX)]


class CodesIn(In):
    """The two halves of an enrolment code: who asked has the first, who approved the second."""

    codes: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=64)]],
        Field(min_length=1, max_length=2),
    ]

    def both(self) -> Codes:
        """Return the halves."""
        return Codes(*self.codes)


class EnrolIn(CodesIn):
    """The codes with the passkey that was made."""

    credential: Credential
    name: Annotated[Line, Field(min_length=1, max_length=NAME_CHARACTERS_MAX)]


class OptionsOut(Out):
    """What to call ``navigator.credentials`` with."""

    options: dict[str, Any]


class TokensOut(Out):
    """The tokens of a session; seconds are from now. The page keeps them in memory only."""

    access_token: str
    refresh_token: str
    expires_in: int
    refresh_expires_in: int


class EnrolledOut(Out):
    """Who has enrolled."""

    staff_id: str
    display_name: str


@router.post("/sign-in/options", openapi_extra=ANYBODY, summary="Begin to sign in")
async def sign_in_options(request: Request) -> OptionsOut:
    """Return a challenge for any passkey of staff; the same for everybody, and kept nowhere."""
    office = office_of(request)
    return OptionsOut(
        options=begin_passkey_sign_in(site=office.site, pepper=office.pepper, now_us=office.clock())
    )


@router.post("/sign-in", openapi_extra=ANYBODY, summary="Sign in with a passkey")
async def sign_in_door(request: Request, body: CredentialIn) -> TokensOut:
    """Open a session: a day at most, an hour without a refresh."""
    office = office_of(request)
    now_us = office.clock()

    async def work(connection: AsyncConnection) -> Attempt:
        attempt = await sign_in(
            connection,
            site=office.site,
            credential=credential_text(body.credential),
            pepper=office.pepper,
            now_us=now_us,
        )
        if attempt.tokens is not None and attempt.staff_id is not None:
            entry = _entry(SIGN_IN, office, request, public_id("stf", attempt.staff_id))
            await append(connection, entry=entry, now_us=now_us)
        return attempt

    attempt = await write(office.engine, work)
    if attempt.tokens is not None:
        return _tokens(attempt.tokens)
    if attempt.staff_id is None:
        # Anybody can send any bytes any number of times; the trail is not theirs to fill.
        logger.warning("a passkey was refused: %s", office.origin(request))
    else:
        entry = _entry(SIGN_IN, office, request, public_id("stf", attempt.staff_id))
        await append_refused(office.engine, entry=entry, now_us=now_us)
    raise ProblemError("sign_in_refused")


@router.post("/refresh", openapi_extra=ANYBODY, summary="Get the next tokens")
async def refresh(request: Request, body: RefreshIn) -> TokensOut:
    """Return the next tokens; the last ones live on for a minute, while answers cross."""
    office = office_of(request)
    asked = RefreshRequest(
        refresh_token=body.refresh_token,
        proof=None,
        method=request.method,
        path=request.url.path,
        body=b"",
    )
    tokens = await refresh_session(
        office.engine, request=asked, pepper=office.pepper, now_us=office.clock()
    )
    if isinstance(tokens, Refusal):
        raise ProblemError("sign_in_required")
    return _tokens(tokens)


@router.post("/reauthentication/options", summary="Begin to show the passkey again")
async def reauthentication_options(acting: Own) -> OptionsOut:
    """Return a challenge for the caller's own passkey."""
    office = acting.office
    return OptionsOut(
        options=begin_passkey_sign_in(site=office.site, pepper=office.pepper, now_us=acting.now_us)
    )


@router.post("/reauthentication", summary="Show the passkey again")
async def reauthentication(acting: Own, body: CredentialIn) -> TokensOut:
    """Return new tokens for the session, which has shown a passkey just now."""
    office = acting.office

    async def work(connection: AsyncConnection) -> Tokens | Refusal:
        return await reauthenticate(
            connection,
            site=office.site,
            caller=acting.caller,
            credential=credential_text(body.credential),
            pepper=office.pepper,
            now_us=acting.now_us,
        )

    shown = await write(office.engine, work)
    if isinstance(shown, Refusal):
        return await acting.refuse("staff.reauthenticate", shown)
    return _tokens(shown)


@router.post("/sign-out", status_code=204, summary="End the session")
async def sign_out(acting: Own) -> None:
    """End the caller's session; its tokens open nothing any more."""

    async def work(connection: AsyncConnection) -> bool:
        return await revoke_session(
            connection,
            principal_id=acting.member.id,
            session_id=acting.session.session_id,
            because="signed_out",
            now_us=acting.now_us,
        )

    await acting.act("staff.sign_out", work)


@router.post("/enrolment/options", openapi_extra=ANYBODY, summary="Begin to enrol")
async def enrolment_options(request: Request, body: CodesIn) -> OptionsOut:
    """Return the options for a first passkey."""
    office = office_of(request)

    async def work(connection: AsyncConnection) -> OptionsOut:
        options = await begin_enrolment(
            connection,
            site=office.site,
            codes=body.both(),
            pepper=office.pepper,
            now_us=office.clock(),
        )
        return OptionsOut(options=options)

    return await _enrolling(office, request, work)


@router.post("/enrolment", status_code=201, openapi_extra=ANYBODY, summary="Enrol a passkey")
async def enrolment(request: Request, body: EnrolIn) -> EnrolledOut:
    """Keep a member's first passkey; signing in with it comes next."""
    office = office_of(request)
    now_us = office.clock()

    async def work(connection: AsyncConnection) -> EnrolledOut:
        member, passkey = await finish_enrolment(
            connection,
            site=office.site,
            codes=body.both(),
            credential=credential_text(body.credential),
            name=body.name,
            pepper=office.pepper,
            now_us=now_us,
        )
        staff_id = public_id("stf", member.id)
        entry = _entry("staff.enrol", office, request, staff_id)
        entry = msgspec.structs.replace(entry, details={"backed_up": int(passkey.backed_up)})
        await append(connection, entry=entry, now_us=now_us)
        return EnrolledOut(staff_id=staff_id, display_name=member.display_name)

    return await _enrolling(office, request, work)


async def _enrolling(office: Office, request: Request, work: Work[T]) -> T:
    try:
        return await write(office.engine, work)
    except RefusedError as error:
        logger.warning("an enrolment was refused: %s", office.origin(request))
        raise ProblemError(error.refusal.code) from None


def _entry(action: str, office: Office, request: Request, staff_id: str) -> Entry:
    return Entry(action=action, actor=staff_id, subject=staff_id, origin=office.origin(request))


def _tokens(tokens: Tokens) -> TokensOut:
    return TokensOut(
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        expires_in=tokens.expires_in_s,
        refresh_expires_in=tokens.refresh_expires_in_s,
    )
