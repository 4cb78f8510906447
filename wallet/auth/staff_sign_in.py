"""How staff sign in: with a passkey, for a day at most, and an hour without doing anything.

There is no password to phish and no code to read out. What is dangerous asks for the passkey
again (:func:`reauthenticate`), and each time the tokens are new ones. Tokens travel in a header
that no browser sends by itself, so no other site can act in a signed-in colleague's name.
"""

from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.auth.authenticate import Caller, authenticate
from wallet.auth.open_session import STAFF, note_shown, open_session
from wallet.auth.passkeys import (
    REFUSED,
    Options,
    Passkey,
    Site,
    begin_passkey_registration,
    finish_passkey_registration,
    finish_passkey_sign_in,
)
from wallet.auth.proofs import UNAUTHENTICATED
from wallet.auth.rules import Method, show
from wallet.auth.staff_accounts import Codes, find_invited, use_codes
from wallet.auth.staff_queries import find_member
from wallet.auth.staff_rules import Member, State
from wallet.auth.tokens import Tokens
from wallet.core.database import read
from wallet.core.refusals import Refusal

SIGNED_IN_WITH: Final = Method.PASSKEY


class StaffCaller(msgspec.Struct, frozen=True):
    """A member of staff who calls, and the session they call in."""

    member: Member
    session: Caller


class Attempt(msgspec.Struct, frozen=True):
    """What came of signing in: ``tokens`` None is a no; ``staff_id`` whose passkey it was."""

    tokens: Tokens | None = None
    staff_id: UUID | None = None


async def authenticate_staff(
    engine: AsyncEngine,
    *,
    authorization: str | None,
    method: str,
    path: str,
    pepper: bytes,
    now_us: int,
) -> StaffCaller | Refusal:
    """Return which member of staff calls, ``unauthenticated`` when it is none.

    A phone's token opens nothing here, nor does that of a member who is no longer active.
    """
    caller = await authenticate(
        engine,
        pepper=pepper,
        authorization=authorization,
        proof=None,
        method=method,
        path=path,
        body=None,
        now_us=now_us,
    )
    if isinstance(caller, Refusal) or caller.device_id is not None:
        return UNAUTHENTICATED
    async with read(engine) as connection:
        member = await find_member(connection, caller.principal_id)
    if member is None or member.state is not State.ACTIVE:
        return UNAUTHENTICATED
    return StaffCaller(member, caller)


async def sign_in(
    connection: AsyncConnection, *, site: Site, credential: str, pepper: bytes, now_us: int
) -> Attempt:
    """Open a session for the member of staff whose passkey signed; commit whatever the answer.

    The challenge is of :func:`~wallet.auth.passkeys.begin_passkey_sign_in`.
    """
    whose = await finish_passkey_sign_in(
        connection, site=site, credential=credential, pepper=pepper, now_us=now_us
    )
    if isinstance(whose, Refusal):
        return Attempt()
    member = await find_member(connection, whose)
    if member is None:  # A resident's passkey; they have doors of their own.
        return Attempt()
    if member.state is not State.ACTIVE:
        return Attempt(staff_id=member.id)
    tokens = await open_session(
        connection,
        principal_id=member.id,
        device_id=None,
        shown=show(SIGNED_IN_WITH, at_us=now_us),
        terms=STAFF,
        pepper=pepper,
        now_us=now_us,
    )
    return Attempt(tokens, member.id)


async def reauthenticate(
    connection: AsyncConnection,
    *,
    site: Site,
    caller: StaffCaller,
    credential: str,
    pepper: bytes,
    now_us: int,
) -> Tokens | Refusal:
    """Return new tokens for the caller's session, now that their passkey has signed again.

    Refuses with ``passkey_refused``, also a colleague's; commit whatever the answer.
    """
    whose = await finish_passkey_sign_in(
        connection, site=site, credential=credential, pepper=pepper, now_us=now_us
    )
    if whose != caller.member.id:
        return REFUSED
    return await note_shown(
        connection,
        session_id=caller.session.session_id,
        shown=show(SIGNED_IN_WITH, at_us=now_us),
        pepper=pepper,
        now_us=now_us,
    )


async def begin_enrolment(
    connection: AsyncConnection, *, site: Site, codes: Codes, pepper: bytes, now_us: int
) -> Options:
    """Return the options for a first passkey; raises ``enrolment_refused``."""
    member = await find_invited(connection, codes=codes, pepper=pepper, now_us=now_us)
    return await begin_passkey_registration(
        connection,
        site=site,
        principal_id=member.id,
        user_name=member.display_name,
        pepper=pepper,
        now_us=now_us,
    )


async def finish_enrolment(
    connection: AsyncConnection,
    *,
    site: Site,
    codes: Codes,
    credential: str,
    name: str,
    pepper: bytes,
    now_us: int,
) -> tuple[Member, Passkey]:
    """Keep a member's first passkey and let them in from now on; the codes are used up.

    Raises :class:`RefusedError` ``enrolment_refused``, ``passkey_refused``, ``passkey_known``.
    """
    member = await find_invited(connection, codes=codes, pepper=pepper, now_us=now_us)
    await use_codes(connection, staff_id=member.id, codes=codes, pepper=pepper, now_us=now_us)
    passkey = await finish_passkey_registration(
        connection,
        site=site,
        principal_id=member.id,
        credential=credential,
        name=name,
        pepper=pepper,
        now_us=now_us,
    )
    return member, passkey
