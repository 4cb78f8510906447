"""What the city keeps of a resident to know what they may apply for, and to count by.

The year of birth, a district, how many children; of name and address only keyed hashes. The
counter writes it down from a document, or the city's register does in one go.
"""

from collections.abc import Collection
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime
from wallet.core.refusals import RefusedError
from wallet.core.sealing import derived_key
from wallet.vouchers.apply_rules import SoftIdentity, household_key_of, soft_key_of
from wallet.vouchers.campaign_tables import eligible_person, resident_profile

_EXISTS: Final = text("SELECT EXISTS (SELECT FROM person WHERE id = :id AND state <> 'closed')")

_COUNT: Final = text("SELECT count(*) FROM person WHERE id = ANY(:ids) AND state <> 'closed'")


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What is written down; what is left out is forgotten. ``identity`` is hashed at once."""

    birth_year: int | None = None
    area_code: str | None = None
    children: int | None = None
    identity: SoftIdentity | None = None


async def keep_profile(
    connection: AsyncConnection, *, person_id: UUID, profile: Profile, pepper: bytes, now_us: int
) -> None:
    """Write a person's profile in place of the one before; raises ``person_unknown``."""
    if not (await connection.execute(_EXISTS, {"id": person_id})).scalar_one():
        raise RefusedError("person_unknown")
    identity = profile.identity
    hashed = {"household_key": None, "soft_key": None} if identity is None else {
        "household_key": household_key_of(
            identity.address, key=derived_key(purpose="household", pepper=pepper)
        ),
        "soft_key": soft_key_of(identity, key=derived_key(purpose="soft identity", pepper=pepper)),
    }  # fmt: skip
    kept = {
        "birth_year": profile.birth_year,
        "area_code": profile.area_code,
        "children": profile.children,
        "updated_at": to_datetime(now_us),
        **hashed,
    }
    statement = insert(resident_profile).values(person_id=person_id, **kept)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["person_id"], set_=kept)
    )


async def add_to_list(
    connection: AsyncConnection, *, list_code: str, person_ids: Collection[UUID], now_us: int
) -> int:
    """Put people on a list that an eligibility names, and return how many are new on it.

    Raises :class:`RefusedError` ``person_unknown`` when any of them is; then nobody is put on it.
    """
    if not person_ids:
        return 0
    known = (await connection.execute(_COUNT, {"ids": list(person_ids)})).scalar_one()
    if known < len(set(person_ids)):
        raise RefusedError("person_unknown")
    now = to_datetime(now_us)
    rows = [
        {"list_code": list_code, "person_id": person_id, "added_at": now}
        for person_id in person_ids
    ]
    statement = insert(eligible_person).values(rows).on_conflict_do_nothing()
    return (await connection.execute(statement)).rowcount
