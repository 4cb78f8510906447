"""Who of the staff comes through a door, what they may do there, and the trail of it.

Each door of the office and of operations says what it :func:`needs`: a permission, and with it
how recently a passkey must have been shown. Whatever a member does, looks at or is refused stands
in the audit trail: what is done in the very transaction that does it, a refusal in one of its own.

There is no cookie: tokens travel in ``Authorization``, which no browser sends along by itself, so
no other site can act in the name of a colleague who is signed in.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Final, NoReturn, TypeVar

import msgspec
from fastapi import Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.api.problems import ProblemError
from wallet.auth.authenticate import Caller
from wallet.auth.passkeys import Site
from wallet.auth.staff_policy import policy
from wallet.auth.staff_queries import find_member
from wallet.auth.staff_rules import (
    About,
    Member,
    Permission,
    check_access,
    check_age,
    check_reason,
    is_own_affair,
)
from wallet.auth.staff_sign_in import StaffCaller, authenticate_staff
from wallet.core.clock import Clock
from wallet.core.database import write
from wallet.core.ids import parse_public_id, public_id
from wallet.core.refusals import Refusal, RefusedError
from wallet.ops.audit import Entry, append, append_refused, may_keep, origin_of
from wallet.people.counter_queries import stand_by

PLANE: Final = "office"

DENIED: Final = "staff.denied"
"""Of the entry for a door that did not open for lack of a permission."""

OWN_MAX_AGE_S: Final = 300
"""How long ago somebody must have shown their passkey to change how they sign in."""

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]
Details = Mapping[str, int | str]


class Office(msgspec.Struct, frozen=True, kw_only=True):
    """What every door of staff needs; the plane keeps it as ``application.state.office``."""

    engine: AsyncEngine
    pepper: bytes
    clock: Clock
    site: Site

    def __post_init__(self) -> None:
        """Read the policy on staff: no door opens on one that is broken."""
        policy()

    def origin(self, request: Request) -> str:
        """Return where a request comes from, as the audit trail keeps it."""
        address = None if request.client is None else request.client.host
        return origin_of(PLANE, address, pepper=self.pepper)


class Acting(msgspec.Struct, frozen=True, kw_only=True):
    """A member of staff at a door that has opened for them."""

    office: Office
    member: Member
    session: Caller
    origin: str
    now_us: int

    @property
    def actor(self) -> str:
        """The member's name in the audit trail."""
        return public_id("stf", self.member.id)

    @property
    def caller(self) -> StaffCaller:
        """The member with their session."""
        return StaffCaller(self.member, self.session)

    async def act(
        self,
        action: str,
        work: Work[T],
        *,
        subject: str | None = None,
        reason: str | None = None,
        tell: Callable[[T], Details] | None = None,
    ) -> T:
        """Run ``work`` in one transaction that ends with its audit entry, and return its result.

        ``tell`` turns the result into details of the entry. What is refused changes nothing, and
        stands in the trail all the same.
        """

        async def whole(connection: AsyncConnection) -> T:
            result = await work(connection)
            entry = self.entry(action, subject=subject, reason=reason)
            if tell is not None:
                entry = msgspec.structs.replace(entry, details=tell(result))
            await append(connection, entry=entry, now_us=self.now_us)
            return result

        return await self.run(action, whole, subject=subject, reason=reason)

    async def note(
        self, action: str, *, reason: str | None = None, details: Details | None = None
    ) -> None:
        """Note what was looked at or done elsewhere; where a reason is given it must be one."""

        async def work(connection: AsyncConnection) -> None:
            del connection
            if reason is not None:
                check_reason(reason)

        await self.act(action, work, reason=reason, tell=lambda _: details or {})

    async def run(
        self, action: str, work: Work[T], *, subject: str | None = None, reason: str | None = None
    ) -> T:
        """Run ``work``, which writes its own entry when it is done; note it when it is refused."""
        whole = partial(write, self.office.engine, work)
        return await self.noting(action, whole, subject=subject, reason=reason)

    async def noting(
        self,
        action: str,
        work: Callable[[], Awaitable[T]],
        *,
        subject: str | None = None,
        reason: str | None = None,
    ) -> T:
        """Run ``work``, which opens its own transactions; note it when it is refused."""
        try:
            return await work()
        except RefusedError as error:
            refusal = error.refusal
        return await self.refuse(action, refusal, subject=subject, reason=reason)

    async def refuse(
        self,
        action: str,
        refusal: Refusal,
        *,
        subject: str | None = None,
        reason: str | None = None,
    ) -> NoReturn:
        """Note a refusal in the trail, and raise it as what the caller is told.

        Facts may repeat what the caller has typed. What of it the trail never keeps is left out,
        for a refusal that cannot be noted would be one that nobody hears of.
        """
        if subject is not None and not may_keep(subject):
            subject = None
        entry = self.entry(action, subject=subject, reason=reason)
        facts = {
            name: fact
            for name, fact in refusal.facts.items()
            if type(fact) in {int, str} and may_keep(fact)
        }
        noted = msgspec.structs.replace(entry, details={"code": refusal.code, **facts})
        await append_refused(self.office.engine, entry=noted, now_us=self.now_us)
        raise ProblemError(refusal.code, **refusal.facts)

    def check_age(self, permission: Permission) -> None:
        """Raise ``reauthentication_required`` when a permission wants a passkey sooner shown."""
        max_age_s = policy().permissions[permission].max_age_s
        _ask_again(check_age(self.session.classes, max_age_s=max_age_s, now_us=self.now_us))

    async def check_own_affair(self, connection: AsyncConnection, subject: str) -> None:
        """Raise :class:`RefusedError` ``own_affair`` when it is about the member or theirs."""
        if is_own_affair(self.member, await find_about(connection, subject)):
            raise RefusedError("own_affair")

    def entry(self, action: str, *, subject: str | None = None, reason: str | None = None) -> Entry:
        """Return the beginning of an audit entry of the member's."""
        return Entry(
            action=action, actor=self.actor, subject=subject, reason=reason, origin=self.origin
        )


class Guard:
    """What opens a door: a permission with its own age of the passkey, or an age alone.

    With neither it opens for every member of staff, to what is their own.
    """

    def __init__(
        self, permission: Permission | None = None, *, max_age_s: int | None = None
    ) -> None:
        self.permission = permission
        self.max_age_s = max_age_s

    async def __call__(self, request: Request, response: Response) -> Acting:
        """Return who comes, or raise what they are told; who lacks the permission is noted."""
        response.headers["cache-control"] = "no-store"
        acting = await _authenticated(request)
        shown = acting.session.classes
        if self.permission is not None:
            refusal = check_access(
                policy(),
                member=acting.member,
                permission=self.permission,
                shown=shown,
                now_us=acting.now_us,
            )
            if refusal is not None and refusal.code == "permission_missing":
                await acting.refuse(DENIED, refusal)
            _ask_again(refusal)
        elif self.max_age_s is not None:
            _ask_again(check_age(shown, max_age_s=self.max_age_s, now_us=acting.now_us))
        return acting


def needs(permission: Permission) -> Guard:
    """Return the guard of a door for those who have a permission."""
    return Guard(permission)


Own = Annotated[Acting, Depends(Guard())]
OwnSignIn = Annotated[Acting, Depends(Guard(max_age_s=OWN_MAX_AGE_S))]


def office_of(request: Request) -> Office:
    """Return what the plane keeps for the doors of staff."""
    office: Office = request.app.state.office
    return office


async def find_about(connection: AsyncConnection, subject: str) -> About:
    """Return whom a public id is about: a resident with those who stand by them, or a colleague."""
    staff_id = parse_public_id("stf", subject)
    if staff_id is not None:
        return About(member=await find_member(connection, staff_id))
    person_id = parse_public_id("per", subject)
    if person_id is None:
        return About()
    return About(persons=await stand_by(connection, person_id=person_id))


async def _authenticated(request: Request) -> Acting:
    office = office_of(request)
    given = request.headers.getlist("authorization")
    now_us = office.clock()
    caller = await authenticate_staff(
        office.engine,
        authorization=given[0] if len(given) == 1 else None,
        method=request.method,
        path=request.url.path,
        pepper=office.pepper,
        now_us=now_us,
    )
    if isinstance(caller, Refusal):
        raise ProblemError("sign_in_required")
    return Acting(
        office=office,
        member=caller.member,
        session=caller.session,
        origin=office.origin(request),
        now_us=now_us,
    )


def _ask_again(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise ProblemError(refusal.code, **refusal.facts)
