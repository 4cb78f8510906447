"""Claim: somebody says that a benefit is theirs, and which of the wallets they reach it goes to.

Two ways lead there. A code from a letter with the beneficiary's birthday, five tries; it is for
whoever looks after the beneficiary as well, since both were sent to them. Or no code at all, for
a person whom the national identity app or the counter has proven, and whom the city knows by its
own reference. Nothing moves here: the grant is due, and the worker gives it.
"""

import hmac
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.guess_limits import allow, fail, subjects_of, succeed
from wallet.benefits.rules import CLAIM_TRIES, read_claim_code
from wallet.benefits.secrets import birth_mac, code_mac
from wallet.core.clock import japanese_day, to_datetime
from wallet.core.outbox import tell
from wallet.core.refusals import Refusal, RefusedError
from wallet.people.persons import Person
from wallet.people.queries import Reach, Role, list_reach
from wallet.people.rules import Tier

WRONG: Final = Refusal("claim_code_wrong")
"""The one answer to a code that is wrong, used, worn out or late, and to a wrong birthday."""

CLAIMED: Final = "benefit.claimed"

OFFERS_MAX: Final = 100

# A try is counted before it is looked at, so however many arrive at once, five are looked at.
_TRY: Final = text("""
UPDATE benefit_grant AS g SET code_failures = g.code_failures + 1
FROM benefit_run AS r
WHERE g.code_mac = :code_mac AND g.state = 'offered' AND g.code_failures < :tries
  AND r.id = g.run_id AND r.state = 'approved' AND r.claim_until >= :day
RETURNING g.id, g.birth_mac, g.beneficiary_hash, g.guardian_hash
""")

_TAKE: Final = text("""
UPDATE benefit_grant
SET state = 'due', due_at = :now, wallet_id = :wallet_id, claimed_by = :person_id,
    claimed_at = :now
WHERE id = :id AND state = 'offered'
""")

_IS_KNOWN: Final = text("SELECT EXISTS (SELECT FROM beneficiary WHERE beneficiary_hash = :hash)")

_KNOW: Final = text("""
INSERT INTO beneficiary (beneficiary_hash, person_id, proven_by, since)
VALUES (:beneficiary_hash, :person_id, :proven_by, :now)
ON CONFLICT (beneficiary_hash) DO NOTHING
""")

# Whom the caller stands for: themselves, and as guardian or proxy whose wallets they reach.
_OFFERS: Final = """
WITH stands_for AS (
    SELECT CAST(:person_id AS uuid) AS person_id
    UNION
    SELECT w.person_id FROM wallet AS w
    WHERE w.id = ANY(CAST(:wallet_ids AS uuid[])) AND w.person_id IS NOT NULL
), known AS (
    SELECT b.beneficiary_hash, b.person_id FROM stands_for AS s
    JOIN beneficiary AS b ON b.person_id = s.person_id
)
SELECT g.id, g.amount_yen, g.state, g.wallet_id, g.granted_at, r.claim_until,
       p.terms->>'name' AS name, CAST(p.terms->'spending'->>'last_day' AS date) AS last_day,
       own.person_id AS beneficiary_id,
       own.person_id IS DISTINCT FROM CAST(:person_id AS uuid) AS for_another
FROM benefit_grant AS g
JOIN benefit_run AS r ON r.id = g.run_id
JOIN programme AS p ON p.id = g.programme_id
LEFT JOIN known AS own ON own.beneficiary_hash = g.beneficiary_hash
WHERE (own.person_id IS NOT NULL OR g.guardian_hash IN (
           SELECT beneficiary_hash FROM known WHERE person_id = :person_id))
  AND r.state IN ('approved', 'done') AND g.state IN ('offered', 'due', 'granted'){more}
ORDER BY g.id DESC LIMIT :most
"""
_LIST: Final = text(_OFFERS.format(more=""))
_ONE: Final = text(
    _OFFERS.format(
        more=" AND g.id = :id AND g.state = 'offered' AND r.state = 'approved'"
        " AND r.claim_until >= :day"
    )
)


class Offer(msgspec.Struct, frozen=True):
    """A benefit as whoever it is for sees it; ``state`` is offered, due (claimed) or granted.

    ``last_day`` is when the money itself ends at the latest. ``for_another``: the caller is the
    guardian, or looks after the beneficiary's wallet.
    """

    id: UUID
    name: str
    amount_yen: int
    state: str
    claim_until: date
    last_day: date
    wallet_id: UUID | None
    granted_at: datetime | None
    for_another: bool
    beneficiary_id: UUID | None


class Claimed(msgspec.Struct, frozen=True):
    """A grant that is due now, and to which wallet."""

    grant_id: UUID
    wallet_id: UUID


class CodeEntered(msgspec.Struct, frozen=True, kw_only=True):
    """What was typed from a letter, the beneficiary's birthday, and from where.

    ``device_id`` is the phone that has just proved its key: its tries are counted by themselves,
    and wrong ones close nothing for the others behind one carrier's address.
    """

    code: str
    birthdate: date
    address: str | None
    device_id: UUID | None = None


async def list_offers(connection: AsyncConnection, *, person_id: UUID) -> list[Offer]:
    """Return what is for a person and for those they stand for, the newest first."""
    reach = await list_reach(connection, person_id=person_id)
    values = {"person_id": person_id, "wallet_ids": _stood_for(reach), "most": OFFERS_MAX}
    return [_offer(row) for row in (await connection.execute(_LIST, values)).mappings()]


async def claim_as_known(
    connection: AsyncConnection,
    *,
    person: Person,
    grant_id: UUID,
    wallet_id: UUID | None,
    now_us: int,
) -> Claimed:
    """Claim an offer as its beneficiary, or for them as guardian or proxy.

    A proxy's and a guardian's claim goes to the wallet of the beneficiary where they have one;
    ``wallet_id`` None is the caller's own. Raises :class:`RefusedError` ``benefit_offer_unknown``,
    ``claim_not_proven`` below T2, ``wallet_unknown`` for one that is not reached or not theirs.
    """
    reach = await list_reach(connection, person_id=person.id)
    values = {
        "person_id": person.id,
        "wallet_ids": _stood_for(reach),
        "id": grant_id,
        "day": japanese_day(now_us),
        "most": 1,
    }
    row = (await connection.execute(_ONE, values)).mappings().one_or_none()
    if row is None:
        raise RefusedError("benefit_offer_unknown")
    if person.tier < Tier.RESIDENT:
        raise RefusedError("claim_not_proven")
    offer = _offer(row)
    target = _reached(reach, wallet_id)
    if offer.for_another and offer.beneficiary_id is not None:
        await _check_whose(connection, target.wallet_id, offer.beneficiary_id)
    elif not offer.for_another and target.role is not Role.OWN:
        raise RefusedError("wallet_unknown")
    await _take(connection, grant_id, target.wallet_id, person.id, now_us)
    return Claimed(grant_id, target.wallet_id)


async def claim_by_code(
    connection: AsyncConnection,
    *,
    person: Person,
    entered: CodeEntered,
    wallet_id: UUID | None,
    pepper: bytes,
    now_us: int,
) -> Claimed | Refusal:
    """Claim what a letter's code and a birthday stand for, into a wallet that the caller reaches.

    Refuses with :data:`WRONG` and ``too_many_tries``; the caller commits whatever the answer is,
    so that every try counts. Raises ``wallet_unknown`` before anything is tried. A proven person
    who claims into their own wallet is known by the reference from then on, unless the roster names
    a guardian: then it may be the guardian who has typed the code.
    """
    target = _reached(await list_reach(connection, person_id=person.id), wallet_id)
    counted_for = subjects_of(
        pepper=pepper,
        account=person.id.hex,
        device_id=entered.device_id,
        address=entered.address,
    )
    refusal = await allow(connection, kind="claim_code", subjects=counted_for, now_us=now_us)
    if refusal is not None:
        return refusal
    row = await _try(connection, entered.code, pepper, now_us)
    expected = bytes(32) if row is None else row["birth_mac"]
    grant_id = UUID(int=0) if row is None else row["id"]
    mac = birth_mac(grant_id, entered.birthdate, pepper=pepper)
    if not hmac.compare_digest(mac, expected) or row is None:
        await fail(connection, kind="claim_code", subjects=counted_for, now_us=now_us)
        return WRONG
    await succeed(connection, kind="claim_code", subjects=counted_for, now_us=now_us)
    await _take(connection, grant_id, target.wallet_id, person.id, now_us)
    may_be_another = row["guardian_hash"] is not None
    if target.role is Role.OWN and person.tier >= Tier.RESIDENT and not may_be_another:
        await know_beneficiary(
            connection,
            beneficiary_hash=row["beneficiary_hash"],
            person_id=person.id,
            proven_by="code",
            now_us=now_us,
        )
    return Claimed(grant_id, target.wallet_id)


async def know_beneficiary(
    connection: AsyncConnection,
    *,
    beneficiary_hash: bytes,
    person_id: UUID,
    proven_by: str,
    now_us: int,
) -> bool:
    """Keep who of the residents a reference is; False when it is known to be somebody already."""
    values = {
        "beneficiary_hash": beneficiary_hash,
        "person_id": person_id,
        "proven_by": proven_by,
        "now": to_datetime(now_us),
    }
    return (await connection.execute(_KNOW, values)).rowcount == 1


async def check_unknown(connection: AsyncConnection, *, beneficiary_hash: bytes) -> None:
    """Raise :class:`RefusedError` ``beneficiary_known`` when a reference is somebody's already."""
    if (await connection.execute(_IS_KNOWN, {"hash": beneficiary_hash})).scalar_one():
        raise RefusedError("beneficiary_known")


async def _try(
    connection: AsyncConnection, written: str, pepper: bytes, now_us: int
) -> RowMapping | None:
    code = read_claim_code(written)
    values: dict[str, Any] = {
        "code_mac": code_mac(code or "", pepper=pepper),
        "tries": CLAIM_TRIES,
        "day": japanese_day(now_us),
    }
    return (await connection.execute(_TRY, values)).mappings().one_or_none()


async def _take(
    connection: AsyncConnection, grant_id: UUID, wallet_id: UUID, person_id: UUID, now_us: int
) -> None:
    values = {
        "id": grant_id,
        "wallet_id": wallet_id,
        "person_id": person_id,
        "now": to_datetime(now_us),
    }
    if (await connection.execute(_TAKE, values)).rowcount == 0:
        raise RefusedError("benefit_offer_unknown")
    body = {"principal_id": person_id, "grant_id": grant_id, "wallet_id": wallet_id}
    await tell(connection, kind=CLAIMED, body=body, now_us=now_us)


_OF_PERSON: Final = text("SELECT person_id FROM wallet WHERE id = :wallet_id")


async def _check_whose(connection: AsyncConnection, wallet_id: UUID, person_id: UUID) -> None:
    """Raise ``wallet_unknown`` unless the wallet is the beneficiary's own."""
    owner = (await connection.execute(_OF_PERSON, {"wallet_id": wallet_id})).scalar_one()
    if owner != person_id:
        raise RefusedError("wallet_unknown")


def _reached(reach: list[Reach], wallet_id: UUID | None) -> Reach:
    """Return the wallet that was named, or the caller's own, if money may be put in by them."""
    for one in reach:
        is_meant = one.role is Role.OWN if wallet_id is None else one.wallet_id == wallet_id
        if is_meant and one.role is not Role.VIEW:
            return one
    raise RefusedError("wallet_unknown")


def _stood_for(reach: list[Reach]) -> list[UUID]:
    return [one.wallet_id for one in reach if one.role in {Role.GUARDIAN, Role.PROXY}]


def _offer(row: RowMapping) -> Offer:
    return Offer(**row)
