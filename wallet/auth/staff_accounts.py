"""Accounts of staff: added, enrolled, suspended, given roles. Only a suspension takes one person.

Everything else here is called for what two people agreed on, or from the shell by whoever runs
the machines, for the first two administrators.

A new account gets its passkey with a code of two halves. Who asked for the account is given one,
who approved it takes the other, and the colleague types both: so none of the three can make an
account that answers to themselves and call it two people.
"""

import hmac
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.passkeys import list_passkeys, revoke_passkey
from wallet.auth.revoke_sessions import revoke_sessions
from wallet.auth.staff_policy import policy
from wallet.auth.staff_queries import find_member, lock_member
from wallet.auth.staff_rules import Member, Permission, State, check_roles
from wallet.auth.staff_tables import staff
from wallet.core.clock import to_datetime
from wallet.core.ids import keyed_hash, new_secret
from wallet.core.refusals import RefusedError

CODE_PREFIX: Final = "enrol_"
CODE_EXPIRES_H: Final = 24

_GRANT = text("""
INSERT INTO staff_role (staff_id, role, granted_at)
SELECT :id, role, :now FROM unnest(CAST(:roles AS text[])) AS new (role)
ON CONFLICT (staff_id, role) DO NOTHING
""")
_TAKE_ROLES = text(
    "DELETE FROM staff_role WHERE staff_id = :id AND role = ANY(CAST(:roles AS text[]))"
)

_SET_STATE = text("UPDATE staff SET state = :state WHERE id = :id")
_SET_PERSON = text("UPDATE staff SET person_id = :person_id WHERE id = :id")

_ADD_FAMILY = text("""
INSERT INTO staff_family (staff_id, person_id, noted_at)
SELECT :id, person_id, :now FROM unnest(CAST(:persons AS uuid[])) AS new (person_id)
ON CONFLICT (staff_id, person_id) DO NOTHING
""")
_TAKE_FAMILY = text("DELETE FROM staff_family WHERE staff_id = :id")

_ISSUE = text("""
INSERT INTO staff_enrolment (staff_id, code_hash, approved_by, expires_at)
VALUES (:id, :code_hash, :approved_by, :expires_at)
ON CONFLICT (staff_id) DO UPDATE SET
    code_hash = EXCLUDED.code_hash, second_hash = NULL, approved_by = EXCLUDED.approved_by,
    expires_at = EXCLUDED.expires_at, used_at = NULL
""")

_TAKE_SECOND = text("""
UPDATE staff_enrolment SET second_hash = :second_hash
WHERE staff_id = :id AND approved_by = :approver_id AND second_hash IS NULL
  AND used_at IS NULL AND expires_at > :now
""")

_FIND_CODE = text("""
SELECT staff_id, second_hash, approved_by FROM staff_enrolment
WHERE code_hash = :code_hash AND used_at IS NULL AND expires_at > :now
""")

_USE = text("""
UPDATE staff_enrolment SET used_at = :now
WHERE staff_id = :id AND code_hash = :code_hash AND used_at IS NULL AND expires_at > :now
""")

_END_CODE = text(
    "UPDATE staff_enrolment SET used_at = :now WHERE staff_id = :id AND used_at IS NULL"
)

_ADMINISTRATORS = text("""
SELECT count(DISTINCT s.id) FROM staff AS s JOIN staff_role AS r ON r.staff_id = s.id
WHERE r.role = ANY(CAST(:roles AS text[])) AND s.state <> 'suspended'
  AND s.id IS DISTINCT FROM CAST(:but AS uuid)
""")


class NewMember(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is to join; ``login_hash`` is of :func:`login_hash`."""

    id: UUID
    login_hash: bytes
    display_name: str
    department: str
    roles: frozenset[str]


class Codes(msgspec.Struct, frozen=True):
    """What a colleague types to enrol; ``second`` is None for what was made at the shell."""

    first: str
    second: str | None = None


def login_hash(login: str, *, pepper: bytes) -> bytes:
    """Return all that is kept of an employee number: enough to see that it has an account."""
    return keyed_hash(f"staff login {login.strip().lower()}", pepper=pepper)


async def add_member(connection: AsyncConnection, *, new: NewMember, now_us: int) -> None:
    """Add a member who has no passkey yet, and so can do nothing.

    Raises :class:`RefusedError` ``staff_exists`` and what
    :func:`~wallet.auth.staff_rules.check_roles` raises.
    """
    check_roles(policy(), department=new.department, roles=new.roles)
    now = to_datetime(now_us)
    row = {
        "id": new.id,
        "login_hash": new.login_hash,
        "display_name": new.display_name,
        "department": new.department,
        "state": State.INVITED,
        "added_at": now,
    }
    try:
        async with connection.begin_nested():
            await connection.execute(staff.insert().values(**row))
    except IntegrityError as error:
        if "uq_staff_login_hash" not in str(error.orig):
            raise
        raise RefusedError("staff_exists") from None
    await connection.execute(_GRANT, {"id": new.id, "roles": sorted(new.roles), "now": now})


async def change_roles(
    connection: AsyncConnection,
    *,
    staff_id: UUID,
    roles: frozenset[str],
    now_us: int,
) -> None:
    """Have a member hold exactly these roles from their next request on.

    Raises :class:`RefusedError` ``staff_unknown`` and what
    :func:`~wallet.auth.staff_rules.check_roles` raises.
    """
    member = await _lock(connection, staff_id)
    check_roles(policy(), department=member.department, roles=roles)
    gone, values = sorted(member.roles - roles), {"id": staff_id, "now": to_datetime(now_us)}
    await connection.execute(_TAKE_ROLES, {"id": staff_id, "roles": gone})
    await connection.execute(_GRANT, {**values, "roles": sorted(roles)})


async def change_family(
    connection: AsyncConnection,
    *,
    staff_id: UUID,
    person_id: UUID | None,
    family: frozenset[UUID],
    now_us: int,
) -> None:
    """Note who a member is as a resident, and exactly whose family; ``staff_unknown``."""
    await _lock(connection, staff_id)
    values: dict[str, Any] = {"id": staff_id, "now": to_datetime(now_us)}
    await connection.execute(_SET_PERSON, {"id": staff_id, "person_id": person_id})
    await connection.execute(_TAKE_FAMILY, {"id": staff_id})
    await connection.execute(_ADD_FAMILY, {**values, "persons": sorted(family)})


async def suspend_member(
    connection: AsyncConnection, *, staff_id: UUID, because: str, now_us: int
) -> bool:
    """Take all power from a member at once; return False when they had none.

    Their sessions end, and so does a code to enrol with. Raises ``staff_unknown``.
    """
    member = await _lock(connection, staff_id)
    values = {"id": staff_id, "now": to_datetime(now_us)}
    await connection.execute(_SET_STATE, {"id": staff_id, "state": State.SUSPENDED})
    await connection.execute(_END_CODE, values)
    await revoke_sessions(connection, principal_id=staff_id, because=because, now_us=now_us)
    return member.state is not State.SUSPENDED


async def enrol_again(
    connection: AsyncConnection,
    *,
    staff_id: UUID,
    approved_by: UUID | None,
    pepper: bytes,
    now_us: int,
) -> str:
    """Void a member's passkeys and sessions and return the first half of a code for new ones.

    Raises :class:`RefusedError` ``staff_unknown``.
    """
    await _lock(connection, staff_id)
    await revoke_sessions(connection, principal_id=staff_id, because="enrol_again", now_us=now_us)
    for passkey in await list_passkeys(connection, principal_id=staff_id):
        await revoke_passkey(
            connection,
            principal_id=staff_id,
            credential_id=passkey.credential_id,
            now_us=now_us,
        )
    await connection.execute(_SET_STATE, {"id": staff_id, "state": State.INVITED})
    return await issue_code(
        connection, staff_id=staff_id, approved_by=approved_by, pepper=pepper, now_us=now_us
    )


async def issue_code(
    connection: AsyncConnection,
    *,
    staff_id: UUID,
    approved_by: UUID | None,
    pepper: bytes,
    now_us: int,
) -> str:
    """Return the first half of a new code, good for :data:`CODE_EXPIRES_H` hours, shown once.

    ``approved_by`` is who may take the second half; None, at the shell, does without.
    """
    code = new_secret(CODE_PREFIX)
    await connection.execute(
        _ISSUE,
        {
            "id": staff_id,
            "code_hash": keyed_hash(code, pepper=pepper),
            "approved_by": approved_by,
            "expires_at": to_datetime(now_us) + timedelta(hours=CODE_EXPIRES_H),
        },
    )
    return code


async def take_second_code(
    connection: AsyncConnection, *, staff_id: UUID, approver_id: UUID, pepper: bytes, now_us: int
) -> str:
    """Return the second half, once, to who approved; raises ``enrolment_unknown`` to all others."""
    code = new_secret(CODE_PREFIX)
    values = {
        "id": staff_id,
        "approver_id": approver_id,
        "second_hash": keyed_hash(code, pepper=pepper),
        "now": to_datetime(now_us),
    }
    if (await connection.execute(_TAKE_SECOND, values)).rowcount != 1:
        raise RefusedError("enrolment_unknown")
    return code


async def find_invited(
    connection: AsyncConnection, *, codes: Codes, pepper: bytes, now_us: int
) -> Member:
    """Return whose codes these are; raises ``enrolment_refused``, whatever is wrong with them.

    Each half has 160 random bits, so nobody guesses one and no tries are counted.
    """
    values = {"code_hash": keyed_hash(codes.first, pepper=pepper), "now": to_datetime(now_us)}
    row = (await connection.execute(_FIND_CODE, values)).one_or_none()
    if row is None:
        raise RefusedError("enrolment_refused")
    if row.approved_by is not None:
        second = keyed_hash(codes.second or "", pepper=pepper)
        if row.second_hash is None or not hmac.compare_digest(second, row.second_hash):
            raise RefusedError("enrolment_refused")
    member = await find_member(connection, row.staff_id)
    if member is None or member.state is not State.INVITED:
        raise RefusedError("enrolment_refused")
    return member


async def use_codes(
    connection: AsyncConnection, *, staff_id: UUID, codes: Codes, pepper: bytes, now_us: int
) -> None:
    """Use the codes of :func:`find_invited` up: the member is active. ``enrolment_refused``."""
    values = {
        "id": staff_id,
        "code_hash": keyed_hash(codes.first, pepper=pepper),
        "now": to_datetime(now_us),
    }
    if (await connection.execute(_USE, values)).rowcount != 1:
        raise RefusedError("enrolment_refused")
    await connection.execute(_SET_STATE, {"id": staff_id, "state": State.ACTIVE})


async def count_administrators(connection: AsyncConnection, *, but: UUID | None = None) -> int:
    """Return how many members could agree on new ones, ``but`` left out."""
    roles = [
        rule.name for rule in policy().roles.values() if Permission.STAFF_MANAGE in rule.permissions
    ]
    values = {"roles": roles, "but": but}
    return int((await connection.execute(_ADMINISTRATORS, values)).scalar_one())


async def _lock(connection: AsyncConnection, staff_id: UUID) -> Member:
    member = await lock_member(connection, staff_id)
    if member is None:
        raise RefusedError("staff_unknown")
    return member
