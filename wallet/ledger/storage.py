"""The ledger's SQL: what a batch reads before it decides and writes before it commits.

One set-based statement per table whatever the size of the batch. Accounts are locked in one
order everywhere: those with a limit before those without, among these budgets and reserves last,
which most batches do not lock but draw on as they end, and each of them by id. That and nothing
else keeps transactions from deadlocking.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.database import Connection, array_literal
from wallet.ledger.book import Book
from wallet.ledger.chart import ACCOUNT_BONUS_RESERVE, ACCOUNT_BUDGET
from wallet.ledger.open_accounts import OPEN_TOTAL_MAX
from wallet.ledger.rules import NIL, Account, Balance, Hold, HoldState, Transfer
from wallet.ops.stop import OBEY

EXPIRED_HOLDS_MAX: Final = 500
"""Holds released in one batch; the rest follow in the next ones."""

_LOCK_BALANCES = f"""
SELECT account_id, ledger, code, flags, min_available, max_balance, closed,
       debits_pending, debits_posted, credits_pending, credits_posted,
       last_timestamp, transfer_count{{more}}
FROM balance WHERE account_id = ANY($1::uuid[])
ORDER BY flags = 0 AND min_available IS NULL AND max_balance IS NULL,
         code IN ({ACCOUNT_BUDGET}, {ACCOUNT_BONUS_RESERVE}), account_id
FOR NO KEY UPDATE
"""  # noqa: S608 - the numbers are constants
_LOCK: Final = _LOCK_BALANCES.format(more="")

# All that a batch of plain transfers must know, in one round trip: the fewer there are, the more of
# the batches overlap. The last column says whether anything is unusual: an id that is known, a hold
# that has run out, a stop. Then it has to be looked at in good order.
_LOCK_AND_LOOK: Final = _LOCK_BALANCES.format(
    more=""",
       EXISTS (SELECT FROM transfer WHERE id = ANY($2::uuid[]) AND id >= $3 AND id <= $4)
       OR EXISTS (SELECT FROM burnt_transfer WHERE id = ANY($2::uuid[]))
       OR EXISTS (SELECT FROM pending_transfer WHERE state = 'pending' AND expires_at <= $5)
       OR coalesce((SELECT scopes <> '{}' FROM stop_control WHERE id = 1 FOR SHARE), true)"""
)

_TRANSFER_COLUMNS: Final = Transfer.__struct_fields__
_COLUMNS: Final = ", ".join(_TRANSFER_COLUMNS)

# As everywhere on the money path, statements are written so that no plan but a look-up by key is
# possible (ANY (ARRAY[…]), OFFSET 0), even one made while the tables were empty.
# The bounds let the executor skip every month but those that the ids fall into.
# An id that was burnt comes as a row with nothing else in it.
_FIND_TRANSFERS = f"""
SELECT {_COLUMNS} FROM transfer WHERE id = ANY($1::uuid[]) AND id >= $2 AND id <= $3
UNION ALL
SELECT id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM burnt_transfer WHERE id = ANY($1::uuid[])
"""  # noqa: S608 - the columns are the constant above

_FIND_HOLDS = f"""
SELECT h.state, h.expires_at, t.*
FROM unnest($1::uuid[]) AS asked (asked_id)
JOIN pending_transfer AS h ON h.transfer_id = ANY (ARRAY[asked_id])
CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM transfer WHERE id = asked_id OFFSET 0) AS t
"""  # noqa: S608

_LOCK_HOLDS = """
SELECT transfer_id FROM pending_transfer WHERE transfer_id = ANY($1::uuid[])
ORDER BY transfer_id FOR UPDATE
"""

# A hold that another batch has locked is left to it, or to a later one: waiting here, with holds
# of this batch's own already locked, could end in a deadlock.
_LOCK_EXPIRED_HOLDS = """
SELECT transfer_id FROM pending_transfer
WHERE state = 'pending' AND expires_at <= $1
ORDER BY expires_at, transfer_id LIMIT $2 FOR UPDATE SKIP LOCKED
"""

_OBEY: Final = OBEY.format(
    more=", (SELECT min(expires_at) FROM pending_transfer"
    " WHERE state = 'pending' AND expires_at IS NOT NULL)"
)

_FIND_ACCOUNTS = """
SELECT id, ledger, code, flags, user_data_128, user_data_64, user_data_32,
       min_available, max_balance, timestamp
FROM account WHERE id = ANY($1::uuid[])
"""

_INSERT_ACCOUNTS = """
INSERT INTO account (id, ledger, code, flags, user_data_128, user_data_64, user_data_32,
                     min_available, max_balance, timestamp)
SELECT * FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::smallint[], $5::uuid[],
                     $6::bigint[], $7::int[], $8::bigint[], $9::bigint[], $10::bigint[])
"""

_INSERT_BALANCES = """
INSERT INTO balance (account_id, ledger, code, flags, min_available, max_balance, closed,
                     debits_pending, debits_posted, credits_pending, credits_posted,
                     last_timestamp, transfer_count)
SELECT * FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::smallint[], $5::bigint[],
                     $6::bigint[], $7::boolean[], $8::bigint[], $9::bigint[], $10::bigint[],
                     $11::bigint[], $12::bigint[], $13::bigint[])
"""

# What was decided without reading an account does not stand if it turns out to be so.
_NOT_OPEN: Final = f"""(
    b.closed OR b.debits_pending + b.debits_posted > {OPEN_TOTAL_MAX}
    OR b.credits_pending + b.credits_posted > {OPEN_TOTAL_MAX}
)"""

# Transfers and what they have changed, in one round trip: the fewer times a batch waits for its
# turn, here and there, the more of them overlap. Counting the transfers puts them before the
# balances, of which a busy one is locked from here on. ``kept`` is 1 for a balance that the batch
# has not read: what it brings is added to what is there. It is 0 for one that the batch has locked
# and knows: what it brings is what there is now. An id may have been burnt while the batch waited
# for its locks, which it had looked for before; then nothing of this must stay.
_RECORD = f"""
WITH booked AS (
    INSERT INTO transfer ({_COLUMNS})
    SELECT unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::uuid[]),
           unnest($4::text::bigint[]), unnest($5::text::int[]), unnest($6::text::smallint[]),
           unnest($7::text::smallint[]), unnest($8::uuid[]), unnest($9::uuid[]),
           unnest($10::text::bigint[]), unnest($11::text::int[]), unnest($12::text::int[]),
           unnest($13::text::bigint[])
    RETURNING 1
)
UPDATE balance AS b
SET debits_pending = b.debits_pending * new.kept + new.debits_pending,
    debits_posted = b.debits_posted * new.kept + new.debits_posted,
    credits_pending = b.credits_pending * new.kept + new.credits_pending,
    credits_posted = b.credits_posted * new.kept + new.credits_posted,
    last_timestamp = greatest(b.last_timestamp * new.kept, new.last_timestamp),
    transfer_count = b.transfer_count * new.kept + new.transfer_count,
    closed = new.closed
FROM (
    SELECT unnest($14::uuid[]), unnest($15::text::bigint[]), unnest($16::text::bigint[]),
           unnest($17::text::bigint[]), unnest($18::text::bigint[]), unnest($19::text::bigint[]),
           unnest($20::text::bigint[]), unnest($21::boolean[]), unnest($22::text::int[])
) AS new (account_id, debits_pending, debits_posted, credits_pending, credits_posted,
          last_timestamp, transfer_count, closed, kept)
WHERE b.account_id = ANY (ARRAY[new.account_id]) AND NOT (new.kept = 1 AND {_NOT_OPEN})
  AND (SELECT count(*) FROM booked) = cardinality($1::uuid[])
  AND NOT EXISTS (SELECT FROM burnt_transfer WHERE id = ANY($1::uuid[]))
"""  # noqa: S608 - as above

_COUNT_NOT_OPEN = f"""
SELECT count(*) FROM balance AS b WHERE account_id = ANY($1::uuid[]) AND {_NOT_OPEN}
"""  # noqa: S608 - as above

_INSERT_HOLDS = """
INSERT INTO pending_transfer (transfer_id, state, expires_at, resolved_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[])
"""

_RESOLVE_HOLDS = """
UPDATE pending_transfer AS h SET state = new.state, resolved_at = $3
FROM unnest($1::uuid[], $2::text[]) AS new (transfer_id, state)
WHERE h.transfer_id = ANY (ARRAY[new.transfer_id]) AND h.state = 'pending'
"""

# An id may have been booked after this batch looked for it and before it got its locks; then the
# refusal was decided on what that very transfer has left, and must not be told.
_INSERT_BURNT = """
INSERT INTO burnt_transfer (id, code, timestamp)
SELECT id, code, $3 FROM unnest($1::uuid[], $2::text[]) AS new (id, code)
WHERE NOT EXISTS (SELECT FROM transfer AS t WHERE t.id = new.id OFFSET 0)
"""

_COUNT_RECORDED = """
SELECT (SELECT count(*) FROM unnest($1::uuid[], $2::bigint[]) AS new (id, timestamp)
        JOIN transfer AS t ON t.id = ANY (ARRAY[new.id]) AND t.timestamp = new.timestamp)
     + (SELECT count(*) FROM unnest($3::uuid[], $4::bigint[]) AS new (id, timestamp)
        JOIN account AS a ON a.id = ANY (ARRAY[new.id]) AND a.timestamp = new.timestamp)
     + (SELECT count(*) FROM burnt_transfer WHERE id = ANY($5::uuid[]) AND timestamp = $6)
"""


class Prior(msgspec.Struct, frozen=True):
    """What the ledger already knows of the ids a batch asks for."""

    accounts: dict[UUID, Account] = {}
    transfers: dict[UUID, Transfer] = {}
    holds: dict[UUID, Hold] = {}
    burnt: set[UUID] = set()


NOTHING_PRIOR: Final = Prior()


def merge(priors: Iterable[Prior], holds: dict[UUID, Hold]) -> Prior:
    """Return one :class:`Prior` of all of them and of ``holds``."""
    merged = Prior(accounts={}, transfers={}, holds=dict(holds), burnt=set())
    for prior in priors:
        if prior is not NOTHING_PRIOR:
            merged.accounts.update(prior.accounts)
            merged.transfers.update(prior.transfers)
            merged.holds.update(prior.holds)
            merged.burnt.update(prior.burnt)
    return merged


class LostRowsError(RuntimeError):
    """A statement touched fewer rows than the book has changed: the batch must not commit."""


async def lock_balances(
    connection: Connection, account_ids: Collection[UUID]
) -> dict[UUID, Balance]:
    """Lock the accounts' balances in the order of their ids and return those that exist."""
    if not account_ids:
        return {}
    rows = await connection.fetch(_LOCK, list(account_ids))
    return {row[0]: Balance(*row) for row in rows}


async def lock_and_look(
    connection: Connection,
    account_ids: Collection[UUID],
    transfer_ids: Collection[UUID],
    *,
    now_us: int,
) -> dict[UUID, Balance] | None:
    """Lock balances as :func:`lock_balances` does, unless something is unusual.

    None when any of the transfers is known, any hold has run out at ``now_us``, or anything is
    stopped, which may not change until the transaction ends; or when no account exists.
    """
    ids = sorted(transfer_ids)
    rows = await connection.fetch(_LOCK_AND_LOOK, list(account_ids), ids, ids[0], ids[-1], now_us)
    if not rows or rows[0][-1]:
        return None
    return {row[0]: Balance(*row[:-1]) for row in rows}


async def find_transfers(
    connection: Connection, transfer_ids: Collection[UUID]
) -> tuple[dict[UUID, Transfer], set[UUID]]:
    """Return those of the transfers that have been booked, and the ids that were burnt."""
    ids = sorted(transfer_ids)
    rows = await connection.fetch(_FIND_TRANSFERS, ids, ids[0], ids[-1])
    booked = {row[0]: transfer_from(row) for row in rows if row[1] is not None}
    return booked, {row[0] for row in rows if row[1] is None}


async def lock_holds(connection: Connection, pending_ids: Collection[UUID]) -> dict[UUID, Hold]:
    """Lock the holds in the order of their ids and return those that exist."""
    if not pending_ids:
        return {}
    await connection.fetch(_LOCK_HOLDS, list(pending_ids))
    return await _find_holds(connection, pending_ids)


async def _find_holds(connection: Connection, pending_ids: Collection[UUID]) -> dict[UUID, Hold]:
    """Return the holds that exist; a statement of its own, so that it sees what is locked."""
    rows = await connection.fetch(_FIND_HOLDS, list(pending_ids))
    return {
        row[2]: Hold(transfer_from(row[2:]), HoldState(row[0]), row[1]) for row in map(tuple, rows)
    }


async def begin(connection: Connection) -> None:
    """Begin a batch, unless the last one has."""
    if not connection.is_in_transaction():
        await connection.execute("BEGIN")


async def begin_anew(connection: Connection) -> None:
    """Give up what the batch has done and locked so far, and begin it again."""
    await connection.execute("ROLLBACK AND CHAIN")


async def obey(connection: Connection) -> tuple[frozenset[str], int | None]:
    """Return the scopes that are stopped, and the moment the next hold runs out, if any does."""
    ((scopes, next_expiry),) = await connection.fetch(_OBEY)
    return frozenset(scopes), next_expiry


async def lock_expired_holds(connection: Connection, *, now: int) -> dict[UUID, Hold]:
    """Lock up to :data:`EXPIRED_HOLDS_MAX` open holds whose time is over, oldest first."""
    rows = await connection.fetch(_LOCK_EXPIRED_HOLDS, now, EXPIRED_HOLDS_MAX)
    return await _find_holds(connection, [row[0] for row in rows])


async def find_accounts(
    connection: Connection, account_ids: Collection[UUID]
) -> dict[UUID, Account]:
    """Return the accounts' immutable part, for those that exist."""
    rows = await connection.fetch(_FIND_ACCOUNTS, list(account_ids))
    return {
        row["id"]: Account(**{**row, "user_data_128": row["user_data_128"] or NIL}) for row in rows
    }


def transfer_from(row: Sequence[Any]) -> Transfer:
    """Return the transfer in a row of the transfer table's columns, in their order."""
    (id_, debit, credit, amount, ledger, code, flags, pending_id, data_128, *rest) = row
    return Transfer(
        id_, debit, credit, amount, ledger, code, flags, pending_id or NIL, data_128 or NIL, *rest
    )


async def record_accounts(connection: Connection, book: Book) -> None:
    """Write the accounts the book has created, with their balances as the batch leaves them."""
    if book.created:
        await _insert_accounts(connection, book)


async def record(connection: Connection, book: Book, *, open_ids: Collection[UUID]) -> None:
    """Write everything the book has changed but its new accounts, one statement per table.

    ``open_ids`` are the accounts the book holds without their balance
    (:mod:`wallet.ledger.open_accounts`). Raises :class:`LostRowsError` when a row it must update
    is not there, when one of those accounts has been closed or is half full, when an id to be
    burnt has been booked meanwhile, or one to be booked has been burnt.
    """
    if book.opened:
        await _insert_holds(connection, book.opened, resolved_at=book.now)
    if book.resolved:
        await _resolve_holds(connection, book.resolved, resolved_at=book.now)
    if book.burnt:
        status = await connection.execute(
            _INSERT_BURNT, list(book.burnt), list(map(str, book.burnt.values())), book.now
        )
        _expect(status, f"INSERT 0 {len(book.burnt)}")
    untouched = [account_id for account_id in open_ids if account_id not in book.touched]
    if untouched and await connection.fetchval(_COUNT_NOT_OPEN, untouched):
        message = "an account that was taken to be open is not: a refusal may say the wrong why"
        raise LostRowsError(message)
    await _record_transfers(connection, book, open_ids)


def _transfer_columns(booked: list[Transfer]) -> tuple[object, ...]:
    """The transfers column by column; the zero id is NULL to the database."""
    return (
        [t.id for t in booked],
        [t.debit_account_id for t in booked],
        [t.credit_account_id for t in booked],
        array_literal([t.amount for t in booked]),
        array_literal([t.ledger for t in booked]),
        array_literal([t.code for t in booked]),
        array_literal([t.flags for t in booked]),
        [_nullable(t.pending_id) for t in booked],
        [_nullable(t.user_data_128) for t in booked],
        array_literal([t.user_data_64 for t in booked]),
        array_literal([t.user_data_32 for t in booked]),
        array_literal([t.timeout_s for t in booked]),
        array_literal([t.timestamp for t in booked]),
    )


def _nullable(identifier: UUID) -> UUID | None:
    return None if identifier is NIL or identifier == NIL else identifier


async def _record_transfers(connection: Connection, book: Book, open_ids: Collection[UUID]) -> None:
    """Write the transfers, locked balances as they are now, and what is added to open ones.

    Open rows are touched last and in the order of their ids, so that a busy account is held for
    no longer than the commit takes and no two batches wait for each other. Those that are drawn on
    come before those that are only added to: so does who locks them, and in that order.
    """
    created = {account.id for account in book.created}
    changed = [b for b in book.touched.values() if b.account_id not in created]
    locked = [b for b in changed if b.account_id not in open_ids]
    added = sorted(
        (b for b in changed if b.account_id in open_ids),
        key=lambda b: (b.min_available is None, b.account_id.bytes),
    )
    if book.booked or changed:
        status = await connection.execute(
            _RECORD,
            *_transfer_columns(book.booked),
            *_balance_columns(locked + added),
            array_literal([0] * len(locked) + [1] * len(added)),
        )
        _expect(status, f"UPDATE {len(changed)}")


def _balance_columns(balances: list[Balance]) -> tuple[object, ...]:
    return (
        [b.account_id for b in balances],
        array_literal([b.debits_pending for b in balances]),
        array_literal([b.debits_posted for b in balances]),
        array_literal([b.credits_pending for b in balances]),
        array_literal([b.credits_posted for b in balances]),
        # Where a batch has only released holds, a lent balance has the date it was lent with.
        array_literal([b.last_timestamp if b.transfer_count else 0 for b in balances]),
        array_literal([b.transfer_count for b in balances]),
        [b.closed for b in balances],
    )


async def _insert_accounts(connection: Connection, book: Book) -> None:
    created = book.created
    await connection.execute(
        _INSERT_ACCOUNTS,
        [a.id for a in created],
        [a.ledger for a in created],
        [a.code for a in created],
        [a.flags for a in created],
        [_nullable(a.user_data_128) for a in created],
        [a.user_data_64 for a in created],
        [a.user_data_32 for a in created],
        [a.min_available for a in created],
        [a.max_balance for a in created],
        [a.timestamp for a in created],
    )
    balances = [book.balances[a.id] for a in created]
    await connection.execute(
        _INSERT_BALANCES,
        [b.account_id for b in balances],
        [b.ledger for b in balances],
        [b.code for b in balances],
        [b.flags for b in balances],
        [b.min_available for b in balances],
        [b.max_balance for b in balances],
        [b.closed for b in balances],
        [b.debits_pending for b in balances],
        [b.debits_posted for b in balances],
        [b.credits_pending for b in balances],
        [b.credits_posted for b in balances],
        [b.last_timestamp for b in balances],
        [b.transfer_count for b in balances],
    )


async def _insert_holds(connection: Connection, opened: list[Hold], *, resolved_at: int) -> None:
    await connection.execute(
        _INSERT_HOLDS,
        [h.transfer.id for h in opened],
        [str(h.state) for h in opened],
        [h.expires_at for h in opened],
        [None if h.state is HoldState.PENDING else resolved_at for h in opened],
    )


async def _resolve_holds(connection: Connection, resolved: list[Hold], *, resolved_at: int) -> None:
    status = await connection.execute(
        _RESOLVE_HOLDS,
        [h.transfer.id for h in resolved],
        [str(h.state) for h in resolved],
        resolved_at,
    )
    _expect(status, f"UPDATE {len(resolved)}")


def _expect(status: str, expected: str) -> None:
    """Refuse to go on when the database has not written just what the book has changed."""
    if status != expected:
        message = f"expected {expected}, the database answered {status}"
        raise LostRowsError(message)


async def is_recorded(connection: Connection, book: Book) -> bool:
    """Whether all that the book has listed is there under the timestamps it gave.

    All of it was written by one transaction, so it is all there or nothing is. False for a book
    that has listed nothing, as there is no telling.
    """
    listed = len(book.booked) + len(book.created) + len(book.burnt)
    if not listed:
        return False
    found: int = await connection.fetchval(
        _COUNT_RECORDED,
        [t.id for t in book.booked],
        [t.timestamp for t in book.booked],
        [a.id for a in book.created],
        [a.timestamp for a in book.created],
        list(book.burnt),
        book.now,
    )
    return found == listed
