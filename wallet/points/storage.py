"""The SQL of gifts."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.database import Connection

_COLUMNS: Final = """
g.id, g.giver_id, g.giver_wallet_id, g.receiver_id, g.receiver_wallet_id, g.programme_id,
g.amount_yen, g.state, g.idempotency_key, g.code_hash, g.given_on, g.created_at, g.expires_at,
g.decided_at
"""

# As everywhere on the money path, no plan but a look-up by key is possible.
_FIND_BY_KEY: Final = f"""
SELECT {_COLUMNS} FROM unnest($1::uuid[], $2::text[]) AS asked (giver_id, key)
CROSS JOIN LATERAL (
    SELECT * FROM gift WHERE giver_id = asked.giver_id AND idempotency_key = asked.key OFFSET 0
) AS g
"""  # noqa: S608 - our columns

_FIND_BY_CODE: Final = f"SELECT {_COLUMNS} FROM gift AS g WHERE code_hash = ANY($1::bytea[])"  # noqa: S608 - as above
_FIND_BY_ID: Final = f"SELECT {_COLUMNS} FROM gift AS g WHERE id = ANY($1::uuid[])"  # noqa: S608 - as above

# What waits counts until its code runs out, what was cancelled does not.
_GIVEN: Final = """
SELECT asked.giver_id, g.programme_id, sum(g.amount_yen)::bigint,
       coalesce(sum(g.amount_yen) FILTER (WHERE g.given_on = $2), 0)::bigint
FROM unnest($1::uuid[]) AS asked (giver_id)
CROSS JOIN LATERAL (
    SELECT programme_id, amount_yen, given_on FROM gift
    WHERE giver_id = asked.giver_id AND given_on >= $3 AND given_on <= $2 AND amount_yen > 0
      AND (state = 'given' OR (state = 'waiting' AND expires_at > $4)) OFFSET 0
) AS g
GROUP BY 1, 2
"""

_KNOWN: Final = """
SELECT asked.giver_id, asked.receiver_id
FROM unnest($1::uuid[], $2::uuid[]) AS asked (giver_id, receiver_id)
WHERE EXISTS (
    SELECT FROM gift WHERE giver_id = asked.giver_id AND receiver_id = asked.receiver_id
      AND state = 'given' AND amount_yen > 0 OFFSET 0
)
"""

_INSERT: Final = """
INSERT INTO gift (id, giver_id, giver_wallet_id, receiver_id, receiver_wallet_id, programme_id,
                  amount_yen, state, idempotency_key, code_hash, given_on, created_at, expires_at,
                  decided_at)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[],
                     $7::bigint[], $8::text[], $9::text[], $10::bytea[], $11::date[],
                     $12::timestamptz[], $13::timestamptz[], $14::timestamptz[])
"""

_SETTLE: Final = """
UPDATE gift AS g SET state = new.state, receiver_id = new.receiver_id,
       receiver_wallet_id = new.receiver_wallet_id, decided_at = $5
FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[])
     AS new (id, state, receiver_id, receiver_wallet_id)
WHERE g.id = ANY (ARRAY[new.id]) AND g.state = 'waiting'
"""


class Gift(msgspec.Struct, frozen=True, gc=False):
    """A gift as it stands; without a receiver it waits for whoever has its code."""

    id: UUID
    giver_id: UUID
    giver_wallet_id: UUID
    receiver_id: UUID | None
    receiver_wallet_id: UUID | None
    programme_id: UUID
    amount_yen: int
    state: str
    idempotency_key: str
    code_hash: bytes | None
    given_on: date
    created_at: datetime
    expires_at: datetime | None
    decided_at: datetime | None


class Given(msgspec.Struct, frozen=True):
    """What somebody has given of one programme, this month and today, in yen."""

    programme_id: UUID
    month_yen: int
    day_yen: int


async def find_by_keys(
    connection: Connection, keys: Collection[tuple[UUID, str]]
) -> dict[tuple[UUID, str], Gift]:
    """Return the gifts that were asked for under these keys of their givers."""
    rows = await connection.fetch(_FIND_BY_KEY, [k[0] for k in keys], [k[1] for k in keys])
    return {(gift.giver_id, gift.idempotency_key): gift for gift in _gifts(rows)}


async def find_by_codes(connection: Connection, hashes: Collection[bytes]) -> dict[bytes, Gift]:
    """Return the gifts whose codes have these hashes."""
    rows = await connection.fetch(_FIND_BY_CODE, list(hashes))
    return {gift.code_hash: gift for gift in _gifts(rows) if gift.code_hash is not None}


async def find_by_ids(connection: Connection, ids: Collection[UUID]) -> dict[UUID, Gift]:
    """Return the gifts with these ids."""
    return {gift.id: gift for gift in _gifts(await connection.fetch(_FIND_BY_ID, list(ids)))}


async def add_up_given(
    connection: Connection, giver_ids: Collection[UUID], *, day: date, now: datetime
) -> dict[UUID, list[Given]]:
    """Return what people have given this month, by programme; nothing for who has given nothing."""
    found: dict[UUID, list[Given]] = {}
    rows = await connection.fetch(_GIVEN, list(giver_ids), day, day.replace(day=1), now)
    for giver_id, *given in rows:
        found.setdefault(giver_id, []).append(Given(*given))
    return found


async def find_known(
    connection: Connection, pairs: Collection[tuple[UUID, UUID]]
) -> set[tuple[UUID, UUID]]:
    """Return those pairs of giver and receiver between whom there was a gift before."""
    rows = await connection.fetch(_KNOWN, [one[0] for one in pairs], [one[1] for one in pairs])
    return {(row[0], row[1]) for row in rows}


async def insert_gifts(connection: Connection, gifts: Sequence[Gift]) -> None:
    """Write new gifts."""
    if gifts:
        names = Gift.__struct_fields__
        await connection.execute(_INSERT, *([getattr(g, name) for g in gifts] for name in names))


async def settle_gifts(connection: Connection, gifts: Sequence[Gift], *, now: datetime) -> None:
    """Write what has become of gifts that waited.

    Raises RuntimeError when one of them did not wait any more: then its money must not move.
    """
    if not gifts:
        return
    status = await connection.execute(
        _SETTLE,
        [gift.id for gift in gifts],
        [gift.state for gift in gifts],
        [gift.receiver_id for gift in gifts],
        [gift.receiver_wallet_id for gift in gifts],
        now,
    )
    if status != f"UPDATE {len(gifts)}":
        message = f"of {len(gifts)} gifts not all waited: {status}"
        raise RuntimeError(message)


def _gifts(rows: Sequence[Any]) -> list[Gift]:
    return [Gift(*row) for row in rows]
