"""The first two administrators, from the shell: until there are two, nobody can agree on anybody.

Whoever runs the machines could write to the tables anyway; here it is at least written down. On
live money this way closes with the second administrator, and opens again only when one of them is
suspended.
"""

from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.staff_accounts import (
    NewMember,
    add_member,
    count_administrators,
    enrol_again,
    issue_code,
)
from wallet.auth.staff_policy import policy
from wallet.auth.staff_queries import find_member
from wallet.auth.staff_rules import Permission
from wallet.core.refusals import RefusedError

ADMINISTRATORS: Final = 2


async def bootstrap_member(
    connection: AsyncConnection, *, new: NewMember, livemode: bool, pepper: bytes, now_us: int
) -> str:
    """Add a member and return a code to enrol with that needs no second half.

    On live money only administrators, and only until there are two: raises :class:`RefusedError`
    ``bootstrap_over`` or ``bootstrap_role``, and what
    :func:`~wallet.auth.staff_accounts.add_member` raises.
    """
    if livemode:
        _check_role(new.roles)
        await _check_number(connection, but=None)
    await add_member(connection, new=new, now_us=now_us)
    return await issue_code(
        connection, staff_id=new.id, approved_by=None, pepper=pepper, now_us=now_us
    )


async def bootstrap_again(
    connection: AsyncConnection, *, staff_id: UUID, livemode: bool, pepper: bytes, now_us: int
) -> str:
    """Void a member's passkeys and return a code for new ones, under the same conditions.

    For administrators who have lost theirs: raises ``staff_unknown`` as well.
    """
    member = await find_member(connection, staff_id)
    if member is None:
        raise RefusedError("staff_unknown")
    if livemode:
        _check_role(member.roles)
        await _check_number(connection, but=staff_id)
    return await enrol_again(
        connection, staff_id=staff_id, approved_by=None, pepper=pepper, now_us=now_us
    )


def _check_role(roles: frozenset[str]) -> None:
    if Permission.STAFF_MANAGE not in policy().permissions_of(roles):
        problem = "From the shell only administrators begin; they add everybody else."
        raise RefusedError("bootstrap_role", problem=problem)


async def _check_number(connection: AsyncConnection, *, but: UUID | None) -> None:
    if await count_administrators(connection, but=but) >= ADMINISTRATORS:
        problem = "There are two administrators: one asks for a colleague, the other approves."
        raise RefusedError("bootstrap_over", problem=problem)
