"""Members of staff with passkeys, and what they ask each other to approve."""

from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.moments import NOW_US, PEPPER
from tests.soft_authenticator import SoftAuthenticator
from wallet.auth.passkeys import Site, begin_passkey_sign_in
from wallet.auth.staff_accounts import (
    Codes,
    NewMember,
    add_member,
    change_family,
    issue_code,
    login_hash,
)
from wallet.auth.staff_approvals import (
    Draft,
    Verdict,
    decide_approval,
    find_approval,
    request_approval,
    take_approval,
)
from wallet.auth.staff_policy import policy
from wallet.auth.staff_queries import find_member
from wallet.auth.staff_rules import About, Action, Approval, Member, State
from wallet.auth.staff_sign_in import Attempt, begin_enrolment, finish_enrolment, sign_in
from wallet.core.database import read, write
from wallet.core.ids import parse_public_id, public_id

SITE: Final = Site("localhost", "City Wallet", ("http://localhost:8000",))
REASON: Final = "窓口での申し出(受付 K-12)"


@dataclass(frozen=True, kw_only=True)
class Colleague:
    """A member of staff and the key in their pocket."""

    id: UUID
    passkey: SoftAuthenticator = field(default_factory=SoftAuthenticator)


def member(*roles: str, **changes: Any) -> Member:  # noqa: ANN401 - fields of many types
    """Return a member who is in no database, of the first department that may hold the roles."""
    fields: dict[str, Any] = {
        "id": uuid4(),
        "display_name": "職員",
        "department": department_of(*roles),
        "state": State.ACTIVE,
        "roles": frozenset(roles),
    }
    return Member(**{**fields, **changes})


def department_of(*roles: str) -> str:
    """Return a department that may hold all of the roles."""
    shared = frozenset(policy().departments)
    for role in roles:
        shared &= policy().roles[role].departments
    return min(shared)


async def add(
    engine: AsyncEngine,
    *roles: str,
    person_id: UUID | None = None,
    family: frozenset[UUID] = frozenset(),
    department: str | None = None,
) -> UUID:
    """Add a member who has no passkey yet."""
    new = NewMember(
        id=uuid4(),
        login_hash=login_hash(uuid4().hex, pepper=PEPPER),
        display_name="職員",
        department=department or department_of(*roles),
        roles=frozenset(roles),
    )

    async def work(connection: AsyncConnection) -> UUID:
        await add_member(connection, new=new, now_us=NOW_US)
        await change_family(
            connection, staff_id=new.id, person_id=person_id, family=family, now_us=NOW_US
        )
        return new.id

    return await write(engine, work)


async def enrol(engine: AsyncEngine, staff_id: UUID, *, now_us: int = NOW_US) -> Colleague:
    """Give a member a passkey, with a code as from the shell."""
    passkey = SoftAuthenticator()

    async def work(connection: AsyncConnection) -> None:
        first = await issue_code(
            connection, staff_id=staff_id, approved_by=None, pepper=PEPPER, now_us=now_us
        )
        options = await begin_enrolment(
            connection, site=SITE, codes=Codes(first), pepper=PEPPER, now_us=now_us
        )
        await finish_enrolment(
            connection,
            site=SITE,
            codes=Codes(first),
            credential=passkey.create(options),
            name="鍵",
            pepper=PEPPER,
            now_us=now_us,
        )

    await write(engine, work)
    return Colleague(id=staff_id, passkey=passkey)


async def make_colleague(
    engine: AsyncEngine,
    *roles: str,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> Colleague:
    """Return an active member of staff with a passkey."""
    return await enrol(engine, await add(engine, *roles, **changes))


async def sign_in_with(
    engine: AsyncEngine, passkey: SoftAuthenticator, *, now_us: int = NOW_US
) -> Attempt:
    """Sign in as a page of staff would."""
    credential = passkey.get(begin_passkey_sign_in(site=SITE, pepper=PEPPER, now_us=now_us))
    return await write(
        engine,
        lambda connection: sign_in(
            connection, site=SITE, credential=credential, pepper=PEPPER, now_us=now_us
        ),
    )


async def member_of(engine: AsyncEngine, staff_id: UUID) -> Member:
    """Return a member as the database knows them now."""
    async with read(engine) as connection:
        found = await find_member(connection, staff_id)
    assert found is not None
    return found


async def about(connection: AsyncConnection, subject: str) -> About:
    """Return whom a subject is about; nobody stands by anybody here."""
    staff_id = parse_public_id("stf", subject)
    if staff_id is not None:
        return About(member=await find_member(connection, staff_id))
    person_id = parse_public_id("per", subject)
    assert person_id is not None
    return About(persons=frozenset({person_id}))


async def ask(
    engine: AsyncEngine,
    requester_id: UUID,
    *,
    action: Action = Action.PERSON_UNFREEZE,
    subject: str | None = None,
    now_us: int = NOW_US,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> Approval:
    """Ask for something."""
    fields: dict[str, Any] = {"payload": {"document": "mynumber_card"}, "reason": REASON, **changes}
    draft = Draft(action=action, subject=subject or public_id("per", uuid4()), **fields)
    return await write(
        engine,
        lambda connection: request_approval(
            connection,
            draft=draft,
            requester_id=requester_id,
            find_about=about,
            pepper=PEPPER,
            now_us=now_us,
        ),
    )


async def decide(
    engine: AsyncEngine,
    approval: Approval,
    approver_id: UUID,
    *,
    now_us: int = NOW_US,
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> Approval:
    """Approve what was asked for, or whatever ``changes`` say."""
    fields: dict[str, Any] = {"decision": "approved", "seen_hash": approval.payload_hash, **changes}
    return await write(
        engine,
        lambda connection: decide_approval(
            connection,
            approval_id=approval.id,
            approver_id=approver_id,
            verdict=Verdict(**fields),
            find_about=about,
            pepper=PEPPER,
            now_us=now_us,
        ),
    )


async def take(
    engine: AsyncEngine, approval: Approval, executor_id: UUID, *, now_us: int = NOW_US
) -> Approval:
    """Carry out what was approved."""
    return await write(
        engine,
        lambda connection: take_approval(
            connection,
            approval_id=approval.id,
            executor_id=executor_id,
            find_about=about,
            pepper=PEPPER,
            now_us=now_us,
        ),
    )


async def approval_of(engine: AsyncEngine, approval_id: UUID) -> Approval:
    """Return a request as it stands."""
    async with read(engine) as connection:
        return await find_approval(connection, approval_id)
