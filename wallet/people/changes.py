"""The one gate that every change of how a person signs in goes through.

A device, a PIN, another factor, a contact: each takes a challenge that was passed with what cannot
be phished, or the identity app, and is used up in the very transaction of the change; or it is the
first quarter of an hour of a new account, on the phone that opened it. Everything cools off, and
the old devices are told.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.authenticate import Caller
from wallet.auth.use_step_up import Approval, use_step_up
from wallet.core.clock import to_datetime
from wallet.core.refusals import RefusedError
from wallet.people.cool_off import cool_off
from wallet.people.persons import Person, lock_person
from wallet.people.rules import is_in_set_up

_ENROLLED_AT: Final = text("SELECT enrolled_at FROM device WHERE id = :device_id")


async def permit_change(
    connection: AsyncConnection,
    *,
    caller: Caller,
    approval: Approval | None,
    because: str,
    now_us: int,
) -> None:
    """Let a change through, or raise why not; call it in the transaction of the change.

    Raises :class:`RefusedError` ``step_up_required`` without an approval outside of the set-up,
    what :func:`~wallet.auth.use_step_up.use_step_up` raises, ``person_unknown``, and
    ``account_frozen``.
    """
    person = await lock_person(connection, person_id=caller.principal_id)
    if person.state != "active":
        raise RefusedError("account_frozen")
    if approval is not None:
        await use_step_up(connection, approval=approval, now_us=now_us)
        await cool_off(connection, person_id=person.id, because=because, now_us=now_us)
    elif not await sets_up(connection, person=person, device_id=caller.device_id, now_us=now_us):
        raise RefusedError("step_up_required")


async def sets_up(
    connection: AsyncConnection, *, person: Person, device_id: UUID | None, now_us: int
) -> bool:
    """Whether this is the phone that opened the account, a few minutes ago."""
    found = await connection.execute(_ENROLLED_AT, {"device_id": device_id})
    enrolled_at: datetime | None = found.scalar_one_or_none()
    return enrolled_at is not None and is_in_set_up(
        opened_at=person.opened_at, now=to_datetime(now_us), device_enrolled_at=enrolled_at
    )
