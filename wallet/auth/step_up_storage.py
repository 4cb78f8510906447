"""The SQL of step-up: one statement for the doors and one for the batches of money, of each kind.

Batches lock challenges before anything else of a wallet, by id: codes, challenges, holders'
spending, balances.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.rules import Acr, Operation, StepUp, challenge_of
from wallet.auth.tables import step_up
from wallet.core.clock import to_datetime
from wallet.core.database import Connection
from wallet.core.ids import new_id
from wallet.core.outbox import Event

# Planned once, often while the table is empty; ANY (ARRAY[…]) leaves nothing but a look-up by key.

INSERT: Final = """
INSERT INTO step_up (id, principal_id, device_id, operation, op_hash, nonce, summary, required,
                     max_age_s, number_match, created_at, expires_at)
SELECT id, principal_id, device_id, operation, op_hash, nonce, summary,
       string_to_array(required, ' '), max_age_s, number_match, created_at, expires_at
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bytea[], $6::bytea[], $7::jsonb[],
            $8::text[], $9::int[], $10::text[], $11::timestamptz[], $12::timestamptz[])
     AS new (id, principal_id, device_id, operation, op_hash, nonce, summary, required, max_age_s,
             number_match, created_at, expires_at)
"""
"""Writes challenges, of which :func:`columns_of` are the first parameters; also as a part of a
statement that writes more."""

LOCK: Final = """
SELECT id, principal_id, op_hash, expires_at, passed_at, passed_acr, consumed_by, device_id, nonce,
       required, max_age_s, number_match, failures
FROM step_up WHERE id = ANY({ids}::uuid[]) ORDER BY id FOR NO KEY UPDATE
"""
"""Locks challenges, also as a part of a statement that asks for more (:func:`step_up_from`)."""

SETTLE: Final = """
UPDATE step_up AS s
SET failures = new.failures, passed_at = new.passed_at, passed_acr = new.acr,
    classes = CASE WHEN s.passed_at IS NULL THEN string_to_array(new.classes, ' ')
                   ELSE s.classes END,
    consumed_by = new.consumed_by,
    consumed_at = CASE WHEN new.consumed_by IS NOT NULL THEN {now}::timestamptz END
FROM unnest({ids}::uuid[], {op_hashes}::bytea[], {failures}::smallint[], {passed_at}::timestamptz[],
            {acrs}::text[], {classes}::text[], {consumed_by}::uuid[])
     AS new (id, op_hash, failures, passed_at, acr, classes, consumed_by)
WHERE s.id = ANY (ARRAY[new.id]) AND s.op_hash = new.op_hash AND s.consumed_at IS NULL
  AND (new.consumed_by IS NULL OR (new.passed_at IS NOT NULL AND s.expires_at > {now}))
RETURNING s.id
"""
"""Writes challenges that are locked as a batch leaves them: passed, failed once more, used up. One
that it does not return was used before, has expired, or is of another operation: its money must not
move. After :data:`LOCK` and :func:`~wallet.auth.rules.check_step_up` that cannot happen, and the
batch must see that it has not. For a batch that writes more in the same round trip."""

_LOCK_ONE = text("""
SELECT id, principal_id, device_id, op_hash, nonce, required, max_age_s, number_match, expires_at,
       failures, passed_at
FROM step_up WHERE id = :challenge_id FOR NO KEY UPDATE
""")

_FAIL = text("UPDATE step_up SET failures = failures + 1 WHERE id = :challenge_id")

_PASS = text("""
UPDATE step_up SET passed_at = :now, passed_acr = :acr, classes = CAST(:classes AS text[])
WHERE id = :challenge_id
""")

# The bound on the age lets the index find them; no challenge is open that long.
_END = text("""
UPDATE step_up SET expires_at = :now
WHERE principal_id = :principal_id
  AND created_at > CAST(:now AS timestamptz) - make_interval(mins => 10)
  AND consumed_at IS NULL AND expires_at > :now
""")


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """A challenge to somebody's factors, bound to one operation by ``op_hash``.

    ``number_match`` is for the screen that asked; a phone that was pushed must be told it by its
    holder and is never sent it.
    """

    id: UUID
    principal_id: UUID
    device_id: UUID | None
    operation: Operation
    op_hash: bytes
    nonce: bytes
    summary: dict[str, Any]
    required: tuple[Acr, ...]
    max_age_s: int
    number_match: str | None
    created_at: datetime
    expires_at: datetime

    @property
    def challenge(self) -> bytes:
        """The 32 bytes to sign."""
        return challenge_of(nonce=self.nonce, op_hash=self.op_hash)


_encode: Final = msgspec.json.Encoder().encode


async def insert_step_ups(connection: Connection, challenges: Sequence[Challenge]) -> None:
    """Write challenges that a batch of money made; tell of each with :func:`requested`."""
    if challenges:
        await connection.execute(INSERT, *columns_of(challenges))


def columns_of(challenges: Sequence[Challenge]) -> tuple[list[Any], ...]:
    """Return challenges column by column, as :data:`INSERT` wants them."""
    return (
        [c.id for c in challenges],
        [c.principal_id for c in challenges],
        [c.device_id for c in challenges],
        [c.operation.value for c in challenges],
        [c.op_hash for c in challenges],
        [c.nonce for c in challenges],
        [_encode(c.summary).decode() for c in challenges],
        [" ".join(c.required) for c in challenges],
        [c.max_age_s for c in challenges],
        [c.number_match for c in challenges],
        [c.created_at for c in challenges],
        [c.expires_at for c in challenges],
    )


async def insert_step_up(connection: AsyncConnection, challenge: Challenge) -> None:
    """Write one challenge, off the money path."""
    row = {name: getattr(challenge, name) for name in challenge.__struct_fields__}
    await connection.execute(step_up.insert().values(row))


def requested(challenge: Challenge, *, now_us: int) -> Event:
    """Return what the outbox tells of a challenge, so that the phone can be woken."""
    body = {
        "challenge_id": challenge.id,
        "principal_id": challenge.principal_id,
        "device_id": challenge.device_id,
    }
    return Event(new_id(now_us=now_us), "step_up.requested", _encode(body).decode())


def step_up_from(row: Sequence[Any]) -> StepUp:
    """Return a challenge from a row of :data:`LOCK`."""
    (id_, principal_id, op_hash, expires_at, passed_at, acr, consumed_by, device_id, *more) = row
    (nonce, required, max_age_s, number_match, failures) = more
    return StepUp(
        id_,
        principal_id,
        op_hash,
        expires_at,
        passed_at,
        None if acr is None else Acr(acr),
        consumed_by,
        device_id,
        nonce,
        tuple(map(Acr, required)),
        max_age_s,
        number_match,
        failures,
    )


async def lock_step_up(connection: AsyncConnection, challenge_id: UUID) -> Any:  # noqa: ANN401 - row
    """Lock one challenge and return its row, None when there is none."""
    values = {"challenge_id": challenge_id}
    return (await connection.execute(_LOCK_ONE, values)).one_or_none()


async def note_failure(connection: AsyncConnection, challenge_id: UUID) -> None:
    """Count one wrong answer."""
    await connection.execute(_FAIL, {"challenge_id": challenge_id})


async def note_passed(
    connection: AsyncConnection,
    challenge_id: UUID,
    *,
    acr: Acr,
    classes: Collection[str],
    now: datetime,
) -> None:
    """Write what a challenge was passed with."""
    await connection.execute(
        _PASS,
        {"challenge_id": challenge_id, "acr": acr.value, "classes": sorted(classes), "now": now},
    )


async def end_challenges(connection: AsyncConnection, *, principal_id: UUID, now_us: int) -> None:
    """End all challenges of a principal that were not used: one that was passed pays no more."""
    await connection.execute(_END, {"principal_id": principal_id, "now": to_datetime(now_us)})
