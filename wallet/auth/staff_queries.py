"""Who is on the staff: members with their roles and families, read anew whenever it matters."""

from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.staff_rules import Member, State

MEMBERS_SHOWN_MAX: Final = 100

_COLUMNS: Final = """
SELECT s.id, s.display_name, s.department, s.state, s.person_id,
       ARRAY(SELECT role FROM staff_role WHERE staff_id = s.id) AS roles,
       ARRAY(SELECT f.person_id FROM staff_family AS f WHERE f.staff_id = s.id) AS family
FROM staff AS s
"""

_FIND = text(f"{_COLUMNS} WHERE s.id = ANY(CAST(:ids AS uuid[]))")

# Whoever suspends one of them or changes a role or a family updates the row, or locks it so.
_HOLD = text("SELECT id FROM staff WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR SHARE")
_LOCK = text("SELECT id FROM staff WHERE id = :id FOR UPDATE")

_LIST = text(f"{_COLUMNS} WHERE s.id > CAST(:after AS uuid) ORDER BY s.id LIMIT :most")


async def find_member(connection: AsyncConnection, staff_id: UUID) -> Member | None:
    """Return a member of staff, None when there is none of this id."""
    return (await find_members(connection, {staff_id})).get(staff_id)


async def find_members(
    connection: AsyncConnection, staff_ids: Collection[UUID]
) -> Mapping[UUID, Member]:
    """Return the members that there are, by their ids."""
    rows = await connection.execute(_FIND, {"ids": list(staff_ids)})
    return {row["id"]: _member(row) for row in rows.mappings()}


async def hold_members(
    connection: AsyncConnection, staff_ids: Collection[UUID]
) -> Mapping[UUID, Member]:
    """Return the members, kept as they are until the caller's transaction ends."""
    await connection.execute(_HOLD, {"ids": list(staff_ids)})
    return await find_members(connection, staff_ids)


async def lock_member(connection: AsyncConnection, staff_id: UUID) -> Member | None:
    """Return a member that the caller is about to change; others wait."""
    await connection.execute(_LOCK, {"id": staff_id})
    return await find_member(connection, staff_id)


async def list_members(
    connection: AsyncConnection, *, after: UUID | None, limit: int
) -> list[Member]:
    """Return a page of the staff in the order they were added."""
    values = {"after": after or UUID(int=0), "most": min(limit, MEMBERS_SHOWN_MAX + 1)}
    return [_member(row) for row in (await connection.execute(_LIST, values)).mappings()]


def _member(row: Mapping[Any, Any]) -> Member:
    return Member(
        id=row["id"],
        display_name=row["display_name"],
        department=row["department"],
        state=State(row["state"]),
        roles=frozenset(row["roles"]),
        person_id=row["person_id"],
        family=frozenset(row["family"]),
    )
