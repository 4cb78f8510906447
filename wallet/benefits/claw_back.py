"""Claw back: what was granted by mistake goes back to the budget, as far as it is unspent.

Only what is left of that very grant is taken, never other money and never more than there is: a
wallet owes nothing. What was spent already becomes a receivable, which a person is asked for; what
expired is in the budget already, and nobody is.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.benefits.follow import Whereabouts, find_expired_from, find_grants_in, follow
from wallet.benefits.rules import CLAW_BACK_REASONS, Granted, unspent_yen
from wallet.core.clock import to_datetime
from wallet.core.database import Connection
from wallet.core.ids import align_id, new_id, numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.core.outbox import Event, append
from wallet.core.refusals import Refusal, RefusedError
from wallet.ledger.chart import TRANSFER_CLAW_BACK
from wallet.ledger.journal import MissingFactError
from wallet.ledger.rules import Transfer, TransferCode
from wallet.ledger.work import Batch, Facts
from wallet.ops.rules import matches
from wallet.programmes.purses import lock_wallets

_FIND_GRANT: Final = text("""
SELECT amount_yen - returned_yen AS left_yen FROM benefit_grant
WHERE id = :id AND state = 'granted' FOR NO KEY UPDATE
""")

_INSERT: Final = text("""
INSERT INTO benefit_claw_back (id, grant_id, amount_yen, because, state, asked_at)
VALUES (:id, :grant_id, :amount_yen, :because, 'due', :now)
ON CONFLICT (grant_id) WHERE state = 'due' DO NOTHING
""")

_LOCK: Final = """
SELECT c.id, c.amount_yen, c.state, g.id, g.wallet_id, g.account_id, p.code, p.number,
       p.budget_account_id
FROM (
    SELECT * FROM benefit_claw_back WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
) AS c
JOIN benefit_grant AS g ON g.id = ANY (ARRAY[c.grant_id])
JOIN programme AS p ON p.id = ANY (ARRAY[g.programme_id])
"""

# Of a grant that was taken back before: what was neither returned nor owed, as it had expired.
_FORGONE: Final = """
SELECT c.grant_id, sum(c.amount_yen - c.returned_yen - coalesce(r.amount_yen, 0))::bigint
FROM benefit_claw_back AS c LEFT JOIN benefit_receivable AS r ON r.claw_back_id = c.id
WHERE c.grant_id = ANY($1::uuid[]) AND c.state = 'done' GROUP BY c.grant_id
"""

_DONE: Final = """
WITH new AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[])
         AS t (id, grant_id, returned_yen, receivable_yen)
), done AS (
    UPDATE benefit_claw_back AS c SET state = 'done', done_at = $5, returned_yen = new.returned_yen
    FROM new WHERE c.id = ANY (ARRAY[new.id])
), owed AS (
    INSERT INTO benefit_receivable (claw_back_id, amount_yen, since)
    SELECT id, receivable_yen, $5 FROM new WHERE receivable_yen > 0
)
UPDATE benefit_grant AS g
SET returned_yen = g.returned_yen + new.returned_yen,
    state = CASE WHEN g.returned_yen + new.returned_yen = g.amount_yen THEN 'clawed_back'
                 ELSE g.state END
FROM new WHERE g.id = ANY (ARRAY[new.grant_id])
"""


async def check_left(connection: AsyncConnection, *, grant_id: UUID, amount_yen: int) -> None:
    """Lock a grant, and raise unless it was paid and so much of it was not taken back yet.

    :class:`RefusedError` ``benefit_grant_unknown`` and ``claw_back_too_much``.
    """
    row = (await connection.execute(_FIND_GRANT, {"id": grant_id})).one_or_none()
    if row is None:
        raise RefusedError("benefit_grant_unknown")
    if amount_yen > row.left_yen:
        raise RefusedError("claw_back_too_much", left_yen=row.left_yen)


async def ask_back(
    connection: AsyncConnection,
    *,
    grant_id: UUID,
    amount_yen: int,
    because: str,
    now_us: int,
) -> UUID:
    """Decide that ``amount_yen`` of a grant is to be taken back; the worker does it.

    Raises :class:`RefusedError` as :func:`check_left` does, and ``claw_back_under_way``; and
    ValueError for a reason that is none of :data:`~wallet.benefits.rules.CLAW_BACK_REASONS`.
    """
    if because not in CLAW_BACK_REASONS:
        message = f"{because!r} is no reason to take a grant back"
        raise ValueError(message)
    await check_left(connection, grant_id=grant_id, amount_yen=amount_yen)
    claw_back_id = align_id(new_id(now_us=now_us))
    values = {
        "id": claw_back_id,
        "grant_id": grant_id,
        "amount_yen": amount_yen,
        "because": because,
        "now": to_datetime(now_us),
    }
    if (await connection.execute(_INSERT, values)).rowcount == 0:
        raise RefusedError("claw_back_under_way")
    return claw_back_id


class DueClawBack(msgspec.Struct, frozen=True, gc=False):
    """A claw-back as its locked row has it, with where the grant went and where it came from."""

    id: UUID
    amount_yen: int
    state: str
    grant_id: UUID
    wallet_id: UUID
    account_id: UUID
    programme: str
    number: int
    budget_account_id: UUID


class TakenBack(msgspec.Struct, frozen=True, gc=False):
    """What went back to the budget, and what the person is to be asked for."""

    claw_back_id: UUID
    returned_yen: int
    receivable_yen: int


class ClawBackFacts(Facts):
    """What a batch of claw-backs needs to know; its decisions add to it."""

    __slots__ = ("claw_backs", "expired_yen", "forgone_yen", "grants", "taken")

    def __init__(self, claw_backs: Iterable[DueClawBack]) -> None:
        super().__init__()
        self.claw_backs = {one.id: one for one in claw_backs}
        self.expired_yen: dict[UUID, int] = {}
        self.forgone_yen: dict[UUID, int] = {}
        self.grants: dict[UUID, list[Granted]] = {}
        self.taken: list[tuple[DueClawBack, TakenBack]] = []


class ClawBack:
    """The kind of work behind :data:`CLAW_BACK`; a request is the id of a claw-back."""

    async def gather(
        self, connection: Connection, requests: Sequence[UUID], now_us: int
    ) -> ClawBackFacts:
        """Lock the rows, then the wallets in which the money is, and see what else is there."""
        del now_us
        rows = await connection.fetch(_LOCK, list(requests))
        found = [DueClawBack(*row) for row in rows]
        purses = {one.account_id for one in found}
        where = await follow(connection, purses)
        await lock_wallets(
            connection,
            {one.wallet_id for one in found} | {one.wallet_id for one in where.values()},
        )
        if await follow(connection, purses) != where:
            message = "a purse was moved into another one just now"
            raise MissingFactError(message)  # The batch is run again.
        facts = ClawBackFacts([_at(one, where[one.account_id]) for one in found])
        facts.account_ids.update(one.account_id for one in where.values())
        facts.grants = await find_grants_in(connection, facts.account_ids)
        facts.expired_yen = await find_expired_from(connection, facts.account_ids)
        rows = await connection.fetch(_FORGONE, [one.grant_id for one in found])
        facts.forgone_yen = dict(rows)
        facts.added_ids.update(one.budget_account_id for one in found)
        return facts

    def decide(self, request: UUID, facts: ClawBackFacts, batch: Batch) -> TakenBack | Refusal:
        """Take what is left of the grant, and note what is not."""
        asked = facts.claw_backs.get(request)
        if asked is None or asked.state != "due":
            return Refusal("claw_back_unknown")
        if batch.stops and matches(batch.stops, programme=asked.programme):
            return Refusal("service_stopped")
        grants = facts.grants[asked.account_id]
        available_yen = batch.book.available(asked.account_id)
        left_yen = unspent_yen(grants, asked.grant_id, available_yen=available_yen)
        spent_yen = asked.amount_yen - max(left_yen, _with_expired(asked, facts, available_yen))
        if spent_yen > 0 and batch.book.balances[asked.account_id].debits_pending:
            return Refusal("claw_back_waits")  # What a hold keeps is not spent; it stays due.
        taken = TakenBack(asked.id, min(asked.amount_yen, left_yen), max(spent_yen, 0))
        if taken.returned_yen:
            _book(asked, taken.returned_yen, batch)
        facts.grants[asked.account_id] = [
            _less(one, taken.returned_yen) if one.id == asked.grant_id else one for one in grants
        ]
        facts.claw_backs[request] = msgspec.structs.replace(asked, state="done")
        facts.taken.append((asked, taken))
        return taken

    async def record(
        self, connection: Connection, facts: ClawBackFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write what has become of the rows, what is owed, and the events."""
        del answers
        now = to_datetime(batch.now_us)
        if facts.taken:
            await connection.execute(
                _DONE,
                [asked.id for asked, _ in facts.taken],
                [asked.grant_id for asked, _ in facts.taken],
                [taken.returned_yen for _, taken in facts.taken],
                [taken.receivable_yen for _, taken in facts.taken],
                now,
            )
        await append(connection, events=[_event(*one) for one in facts.taken], now=now)


CLAW_BACK: Final = ClawBack()
"""The kind of work that takes back."""


def _at(asked: DueClawBack, where: Whereabouts) -> DueClawBack:
    """Return a claw-back that takes from where the money is by now."""
    return msgspec.structs.replace(asked, account_id=where.account_id, wallet_id=where.wallet_id)


def _with_expired(asked: DueClawBack, facts: ClawBackFacts, available_yen: int) -> int:
    """Return what of a grant nobody has spent: it is still there, or the budget has it by now."""
    unspent = unspent_yen(
        facts.grants[asked.account_id],
        asked.grant_id,
        available_yen=available_yen + facts.expired_yen.get(asked.account_id, 0),
    )
    return unspent - facts.forgone_yen.get(asked.grant_id, 0)


def _less(grant: Granted, returned_yen: int) -> Granted:
    return msgspec.structs.replace(grant, returned_yen=grant.returned_yen + returned_yen)


def _book(asked: DueClawBack, amount_yen: int, batch: Batch) -> None:
    transfer = Transfer(
        numbered_id(asked.id, 1),
        asked.account_id,
        asked.budget_account_id,
        amount_yen,
        LEDGER_JPY,
        TRANSFER_CLAW_BACK,
        user_data_128=asked.wallet_id,
        user_data_32=asked.number,
    )
    (result,) = batch.book.create_transfers([transfer])
    if result.code is not TransferCode.CREATED:
        message = f"the ledger refused a claw-back that fits: {result.code}"
        raise RuntimeError(message)


_encode: Final = msgspec.json.Encoder().encode


def _event(asked: DueClawBack, taken: TakenBack) -> Event:
    body = {
        "grant_id": str(asked.grant_id),
        "wallet_id": str(asked.wallet_id),
        "returned_yen": taken.returned_yen,
        "receivable_yen": taken.receivable_yen,
    }
    return Event(asked.id, "benefit.clawed_back", _encode(body).decode())
