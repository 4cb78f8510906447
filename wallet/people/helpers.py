"""Helpers: who may look into somebody's wallet, or pay out of it within limits, as their own self.

Nobody need share a password with a daughter. The owner invites, the helper accepts on a phone of
theirs, the owner hears of it, and a proxy pays nothing for the first day. Either may end it with
one tap.
"""

from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import japanese_day, to_datetime
from wallet.core.ids import keyed_hash, new_id, new_secret
from wallet.core.outbox import tell
from wallet.core.refusals import RefusedError
from wallet.people.persons import lock_person
from wallet.people.rules import Tier
from wallet.people.tables import helper
from wallet.people.tiers import tiers

INVITATION_S: Final = 86_400

INVITED: Final = "helper.invited"
ACCEPTED: Final = "helper.accepted"
REVOKED: Final = "helper.revoked"

Kind = Literal["view", "proxy"]

# An invitation that nobody has accepted in time makes room for another.
_LOCK_WALLET: Final = text("""
SELECT w.id, (SELECT count(*) FROM helper AS h WHERE h.wallet_id = w.id AND h.revoked_at IS NULL
              AND (h.accepted_at IS NOT NULL OR h.expires_at > :now)) AS helpers
FROM wallet AS w WHERE w.person_id = :owner_id AND w.id = :wallet_id AND w.state <> 'closed'
FOR NO KEY UPDATE
""")

_FIND_INVITATION: Final = text("""
SELECT h.id, h.wallet_id, h.kind, w.person_id AS owner_id
FROM helper AS h JOIN wallet AS w ON w.id = h.wallet_id
WHERE h.code_hash = :code_hash AND h.helper_id IS NULL AND h.revoked_at IS NULL
  AND h.expires_at > :now
FOR NO KEY UPDATE OF h
""")

_COUNT_OF_HELPER: Final = text("""
SELECT count(*) FROM helper WHERE helper_id = :helper_id AND revoked_at IS NULL
""")

_ACCEPT: Final = text("""
UPDATE helper SET helper_id = :helper_id, accepted_at = :now, cooling_until = :cooling_until
WHERE id = :id
""")

_BEGIN_SPENDING: Final = text("""
INSERT INTO spending (holder_id, spent_on, spent_yen) VALUES (:id, :day, 0)
""")

_REVOKE: Final = text("""
UPDATE helper AS h SET revoked_at = :now FROM wallet AS w
WHERE h.id = :id AND w.id = h.wallet_id AND h.revoked_at IS NULL
  AND (w.person_id = :person_id OR h.helper_id = :person_id)
RETURNING h.wallet_id, h.helper_id, w.person_id AS owner_id
""")

_LIST: Final = text("""
SELECT h.id, h.wallet_id, h.kind, h.payment_limit_yen, h.daily_limit_yen,
       w.person_id = :person_id AS is_owner, h.accepted_at, h.cooling_until, h.expires_at
FROM helper AS h JOIN wallet AS w ON w.id = h.wallet_id
WHERE h.revoked_at IS NULL AND (h.accepted_at IS NOT NULL OR h.expires_at > :now)
  AND (h.helper_id = :person_id
       OR h.wallet_id IN (SELECT id FROM wallet WHERE person_id = :person_id))
ORDER BY h.id
""")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a helper is wanted for; limits in yen, nothing for one who only looks."""

    kind: Kind
    payment_limit_yen: int = 0
    daily_limit_yen: int = 0


class Invitation(msgspec.Struct, frozen=True):
    """An invitation; ``code`` is told here and never again."""

    helper_id: UUID
    code: str
    expires_in_s: int


class Help(msgspec.Struct, frozen=True):
    """A helper as the owner or the helper sees it; not accepted yet without ``accepted_at``."""

    id: UUID
    wallet_id: UUID
    kind: Kind
    payment_limit_yen: int
    daily_limit_yen: int
    is_owner: bool
    accepted_at: datetime | None
    cooling_until: datetime | None
    expires_at: datetime


async def invite_helper(
    connection: AsyncConnection,
    *,
    owner_id: UUID,
    wallet_id: UUID,
    wanted: Wanted,
    pepper: bytes,
    now_us: int,
) -> Invitation:
    """Invite somebody to help with the owner's wallet; the caller has asked for a step-up.

    Raises :class:`RefusedError` ``wallet_unknown`` (also for another's), ``helper_limits`` for
    limits that a proxy may not have, and ``helpers_too_many``.
    """
    _check(wanted)
    now = to_datetime(now_us)
    values = {"owner_id": owner_id, "wallet_id": wallet_id, "now": now}
    row = (await connection.execute(_LOCK_WALLET, values)).one_or_none()
    if row is None:
        raise RefusedError("wallet_unknown", wallet_id=wallet_id)
    if row.helpers >= tiers().helper.per_wallet:
        raise RefusedError("helpers_too_many", helpers_max=tiers().helper.per_wallet)
    invitation = Invitation(new_id(now_us=now_us), new_secret("help_"), INVITATION_S)
    await connection.execute(
        helper.insert().values(
            id=invitation.helper_id,
            wallet_id=wallet_id,
            kind=wanted.kind,
            payment_limit_yen=wanted.payment_limit_yen,
            daily_limit_yen=wanted.daily_limit_yen,
            code_hash=_hash(invitation.code, pepper),
            invited_at=now,
            expires_at=now + timedelta(seconds=INVITATION_S),
        )
    )
    body = {"principal_id": owner_id, "helper_id": invitation.helper_id}
    await tell(connection, kind=INVITED, body=body, now_us=now_us)
    return invitation


async def accept_help(
    connection: AsyncConnection, *, person_id: UUID, code: str, pepper: bytes, now_us: int
) -> Help:
    """Take an invitation on; the owner is told.

    Raises :class:`RefusedError` ``invitation_unknown`` for a code that is wrong, used or late,
    ``helper_of_self``, ``helper_not_proven`` for a visitor or somebody frozen, and
    ``helpers_too_many`` for whoever helps enough people already, or this one.
    """
    person = await lock_person(connection, person_id=person_id)
    now, limits = to_datetime(now_us), tiers().helper
    values = {"code_hash": _hash(code, pepper), "now": now}
    row = (await connection.execute(_FIND_INVITATION, values)).one_or_none()
    if row is None:
        raise RefusedError("invitation_unknown")
    if row.owner_id == person_id:
        raise RefusedError("helper_of_self")
    if person.tier < Tier.DEVICE or person.state != "active":
        raise RefusedError("helper_not_proven")
    held = await connection.execute(_COUNT_OF_HELPER, {"helper_id": person_id})
    if held.scalar_one() >= limits.per_helper:
        raise RefusedError("helpers_too_many", helpers_max=limits.per_helper)
    await _accept(connection, row.id, person_id, now_us)
    if row.kind == "proxy":
        day = japanese_day(now_us)
        await connection.execute(_BEGIN_SPENDING, {"id": row.id, "day": day})
    body = {"principal_id": row.owner_id, "helper_id": row.id, "kind": row.kind}
    await tell(connection, kind=ACCEPTED, body=body, now_us=now_us)
    (mine,) = [
        one
        for one in await list_help(connection, person_id=person_id, now_us=now_us)
        if one.id == row.id
    ]
    return mine


async def revoke_help(
    connection: AsyncConnection, *, person_id: UUID, helper_id: UUID, now_us: int
) -> None:
    """End a helper's rights or an invitation: the owner's wish or the helper's own.

    Raises :class:`RefusedError` ``helper_unknown``, also for other people's.
    """
    values = {"id": helper_id, "person_id": person_id, "now": to_datetime(now_us)}
    row = (await connection.execute(_REVOKE, values)).one_or_none()
    if row is None:
        raise RefusedError("helper_unknown")
    for told_id in {row.owner_id, row.helper_id} - {None}:
        body = {"principal_id": told_id, "helper_id": helper_id}
        await tell(connection, kind=REVOKED, body=body, now_us=now_us)


async def list_help(connection: AsyncConnection, *, person_id: UUID, now_us: int) -> list[Help]:
    """Return who helps a person and whom they help, the oldest first."""
    values = {"person_id": person_id, "now": to_datetime(now_us)}
    return [Help(*row) for row in await connection.execute(_LIST, values)]


async def _accept(
    connection: AsyncConnection, helper_id: UUID, person_id: UUID, now_us: int
) -> None:
    now = to_datetime(now_us)
    cooling_until = now + timedelta(hours=tiers().helper.cooling_off_h)
    row = {
        "id": helper_id,
        "helper_id": person_id,
        "now": now,
        "cooling_until": cooling_until,
    }
    try:
        async with connection.begin_nested():
            await connection.execute(_ACCEPT, row)
    except IntegrityError as error:
        if "uq_helper_helper_id_wallet_id" not in str(error.orig):
            raise
        raise RefusedError("helpers_too_many", helpers_max=1) from None


def _check(wanted: Wanted) -> None:
    limits = tiers().helper
    if wanted.kind == "proxy":
        fits = (
            0 < wanted.payment_limit_yen <= min(limits.payment_yen, wanted.daily_limit_yen)
            and wanted.daily_limit_yen <= limits.day_yen
        )
    else:
        fits = wanted.payment_limit_yen == wanted.daily_limit_yen == 0
    if not fits:
        raise RefusedError("helper_limits", limit_yen=limits.payment_yen, day_yen=limits.day_yen)


def _hash(code: str, pepper: bytes) -> bytes:
    return keyed_hash(f"helper invitation {code}", pepper=pepper)
