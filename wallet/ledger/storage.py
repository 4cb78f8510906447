"""The ledger's SQL: what a batch reads before it decides and writes before it commits.

One set-based statement per table whatever the size of the batch. Accounts are locked in the
order of their ids, everywhere; that and nothing else keeps transactions from deadlocking.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.database import Connection, array_literal
from wallet.ledger.book import Book
from wallet.ledger.rules import NIL, Account, Balance, Hold, HoldState, Transfer
from wallet.ops.stop import OBEY

EXPIRED_HOLDS_MAX: Final = 500
"""Holds released in one batch; the rest follow in the next ones."""

OPEN_ACCOUNTS_MAX: Final = 100_000
"""Accounts remembered in one process, about 30 MB."""

_LOCK_BALANCES = """
SELECT account_id, ledger, code, flags, min_available, max_balance, closed,
       debits_pending, debits_posted, credits_pending, credits_posted,
       last_timestamp, transfer_count
FROM balance WHERE account_id = ANY($1::uuid[])
ORDER BY account_id FOR NO KEY UPDATE
"""

_TRANSFER_COLUMNS: Final = Transfer.__struct_fields__
_COLUMNS: Final = ", ".join(_TRANSFER_COLUMNS)

# As everywhere on the money path, statements are written so that no plan but a look-up by key is
# possible (ANY (ARRAY[…]), OFFSET 0), even one made while the tables were empty.
# The bounds let the executor skip every month but those that the ids fall into.
_FIND_TRANSFERS = f"""
SELECT {_COLUMNS} FROM transfer WHERE id = ANY($1::uuid[]) AND id >= $2 AND id <= $3
"""  # noqa: S608 - the columns are the constant above

_FIND_BURNT = "SELECT id FROM burnt_transfer WHERE id = ANY($1::uuid[])"

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

_EXPIRED_HOLDS = """
SELECT transfer_id FROM pending_transfer
WHERE state = 'pending' AND expires_at <= $1
ORDER BY expires_at, transfer_id LIMIT $2
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

_NEW_BALANCES = """
FROM unnest($1::uuid[], $2::text::bigint[], $3::text::bigint[], $4::text::bigint[],
            $5::text::bigint[], $6::text::bigint[], $7::text::bigint[], $8::boolean[])
     AS new (account_id, debits_pending, debits_posted, credits_pending, credits_posted,
             last_timestamp, transfer_count, closed)
WHERE b.account_id = ANY (ARRAY[new.account_id])
"""

_UPDATE_LOCKED = f"""
UPDATE balance AS b
SET debits_pending = new.debits_pending, debits_posted = new.debits_posted,
    credits_pending = new.credits_pending, credits_posted = new.credits_posted,
    last_timestamp = new.last_timestamp, transfer_count = new.transfer_count,
    closed = new.closed
{_NEW_BALANCES}
"""  # noqa: S608

_ADD_TO_OPEN = f"""
UPDATE balance AS b
SET debits_pending = b.debits_pending + new.debits_pending,
    debits_posted = b.debits_posted + new.debits_posted,
    credits_pending = b.credits_pending + new.credits_pending,
    credits_posted = b.credits_posted + new.credits_posted,
    last_timestamp = greatest(b.last_timestamp, new.last_timestamp),
    transfer_count = b.transfer_count + new.transfer_count
{_NEW_BALANCES} AND NOT b.closed
"""  # noqa: S608

_INSERT_HOLDS = """
INSERT INTO pending_transfer (transfer_id, state, expires_at, resolved_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[])
"""

_RESOLVE_HOLDS = """
UPDATE pending_transfer AS h SET state = new.state, resolved_at = $3
FROM unnest($1::uuid[], $2::text[]) AS new (transfer_id, state)
WHERE h.transfer_id = ANY (ARRAY[new.transfer_id]) AND h.state = 'pending'
"""

_INSERT_BURNT = """
INSERT INTO burnt_transfer (id, code, timestamp)
SELECT id, code, $3 FROM unnest($1::uuid[], $2::text[]) AS new (id, code)
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


class OpenAccounts:
    """Accounts that nothing limits, such as what the city owes a shop.

    Any amount may be added to either side of them, so a batch neither locks nor reads them: it
    adds to their counters as its last act before COMMIT. That is what makes the busiest shop as
    fast as any other. Only what never changes is remembered; an account that has been closed
    meanwhile is found when the addition meets no row, and is forgotten.
    """

    def __init__(self) -> None:
        self._known: dict[UUID, tuple[int, int, int]] = {}

    def learn(self, balances: Iterable[Balance]) -> None:
        """Remember those of the balances that nothing limits."""
        if len(self._known) > OPEN_ACCOUNTS_MAX:
            self._known.clear()
        for b in balances:
            if not (
                b.flags or b.closed or b.min_available is not None or b.max_balance is not None
            ):
                self._known[b.account_id] = (b.ledger, b.code, b.flags)

    def forget(self) -> None:
        """Forget everything; the next batch locks and reads again."""
        self._known.clear()

    def lend(self, account_ids: Iterable[UUID]) -> dict[UUID, Balance]:
        """Return empty balances of those known to be open, for the batch to add to."""
        known = self._known
        return {i: Balance(i, *known[i]) for i in account_ids if i in known}


async def lock_balances(
    connection: Connection, account_ids: Collection[UUID]
) -> dict[UUID, Balance]:
    """Lock the accounts' balances in the order of their ids and return those that exist."""
    if not account_ids:
        return {}
    rows = await connection.fetch(_LOCK_BALANCES, list(account_ids))
    return {row[0]: Balance(*row) for row in rows}


async def find_transfers(
    connection: Connection, transfer_ids: Collection[UUID]
) -> tuple[dict[UUID, Transfer], set[UUID]]:
    """Return those of the transfers that have been booked, and the ids that were burnt."""
    ids = sorted(transfer_ids)
    rows = await connection.fetch(_FIND_TRANSFERS, ids, ids[0], ids[-1])
    burnt = await connection.fetch(_FIND_BURNT, ids)
    return {row[0]: transfer_from(row) for row in rows}, {row[0] for row in burnt}


async def lock_holds(connection: Connection, pending_ids: Collection[UUID]) -> dict[UUID, Hold]:
    """Lock the holds in the order of their ids and return those that exist."""
    if not pending_ids:
        return {}
    ids = list(pending_ids)
    await connection.fetch(_LOCK_HOLDS, ids)
    rows = await connection.fetch(_FIND_HOLDS, ids)
    return {
        row[2]: Hold(transfer_from(row[2:]), HoldState(row[0]), row[1]) for row in map(tuple, rows)
    }


async def begin(connection: Connection) -> tuple[frozenset[str], int | None]:
    """Begin a batch; return the scopes that are stopped and when the next hold runs out."""
    await connection.execute("BEGIN")
    scopes, next_expiry = await connection.fetchrow(_OBEY)
    return frozenset(scopes), next_expiry


async def lock_expired_holds(connection: Connection, *, now: int) -> dict[UUID, Hold]:
    """Lock up to :data:`EXPIRED_HOLDS_MAX` open holds whose time is over, oldest first."""
    rows = await connection.fetch(_EXPIRED_HOLDS, now, EXPIRED_HOLDS_MAX)
    return await lock_holds(connection, [row[0] for row in rows])


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

    ``open_ids`` are the accounts the book holds without their balance (:class:`OpenAccounts`).
    Raises :class:`LostRowsError` when a row it must update is not there or has been closed.
    """
    if book.booked:
        await _insert_transfers(connection, book.booked)
    if book.opened:
        await _insert_holds(connection, book.opened, resolved_at=book.now)
    if book.resolved:
        await _resolve_holds(connection, book.resolved, resolved_at=book.now)
    if book.burnt:
        await connection.execute(
            _INSERT_BURNT, list(book.burnt), list(map(str, book.burnt.values())), book.now
        )
    await _update_balances(connection, book, open_ids)


async def _insert_transfers(connection: Connection, booked: list[Transfer]) -> None:
    # COPY is a third cheaper than INSERT here, on both sides: rows go in by the page, and each
    # value is encoded once instead of being inspected as an element of an array.
    await connection.copy_records_to_table(
        "transfer", records=[_row_of(transfer) for transfer in booked], columns=_TRANSFER_COLUMNS
    )


def _row_of(t: Transfer) -> tuple[Any, ...]:
    """The transfer in the order of the columns; the zero id is NULL to the database."""
    return (
        t.id,
        t.debit_account_id,
        t.credit_account_id,
        t.amount,
        t.ledger,
        t.code,
        t.flags,
        _nullable(t.pending_id),
        _nullable(t.user_data_128),
        t.user_data_64,
        t.user_data_32,
        t.timeout_s,
        t.timestamp,
    )


def _nullable(identifier: UUID) -> UUID | None:
    return None if identifier is NIL or identifier == NIL else identifier


async def _update_balances(connection: Connection, book: Book, open_ids: Collection[UUID]) -> None:
    """Write locked balances as they are now, and add to open ones what the batch added.

    Open rows are touched last and in the order of their ids, so that a busy account is held for
    no longer than the commit takes and no two batches wait for each other.
    """
    created = {account.id for account in book.created}
    changed = [b for b in book.touched.values() if b.account_id not in created]
    locked = [b for b in changed if b.account_id not in open_ids]
    added = sorted(
        (b for b in changed if b.account_id in open_ids), key=lambda b: b.account_id.bytes
    )
    if locked:
        status = await connection.execute(_UPDATE_LOCKED, *_columns_of(locked))
        _expect_rows(status, len(locked))
    if added:
        status = await connection.execute(_ADD_TO_OPEN, *_columns_of(added))
        _expect_rows(status, len(added))


def _columns_of(balances: list[Balance]) -> tuple[object, ...]:
    return (
        [b.account_id for b in balances],
        array_literal([b.debits_pending for b in balances]),
        array_literal([b.debits_posted for b in balances]),
        array_literal([b.credits_pending for b in balances]),
        array_literal([b.credits_posted for b in balances]),
        array_literal([b.last_timestamp for b in balances]),
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
    _expect_rows(status, len(resolved))


def _expect_rows(status: str, expected: int) -> None:
    """Refuse to go on when ``UPDATE n`` is not what the book has changed."""
    if status != f"UPDATE {expected}":
        message = f"expected UPDATE {expected}, the database answered {status}"
        raise LostRowsError(message)
