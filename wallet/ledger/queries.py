"""Reads of the ledger, under TigerBeetle's names: lookups, an account's transfers, its balances.

They see what has been committed and take no locks. A hold that has run out still counts as
pending until a batch has released it, as in TigerBeetle.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.ledger.entries import ENTRIES
from wallet.ledger.rules import ACCOUNT_HISTORY, NIL, TIMESTAMP_MAX, Account, Balance, Transfer
from wallet.ledger.storage import transfer_from

LOOKUP_MAX: Final = 8_189
"""Ids in one lookup, as in TigerBeetle."""

PAGE_MAX: Final = 1_000
"""Rows of one page."""

_ACCOUNT_COLUMNS: Final = (
    *("id", "ledger", "code", "flags", "user_data_128", "user_data_64", "user_data_32"),
    *("min_available", "max_balance", "timestamp"),
)
_BALANCE_COLUMNS: Final = Balance.__struct_fields__
_TRANSFER_COLUMNS: Final = ", ".join(Transfer.__struct_fields__)

_ACCOUNTS: Final = text(f"""
SELECT {", ".join(f"a.{name}" for name in _ACCOUNT_COLUMNS)},
       {", ".join(f"b.{name}" for name in _BALANCE_COLUMNS)}
FROM account AS a JOIN balance AS b ON b.account_id = a.id WHERE a.id = ANY(:ids)
""")  # noqa: S608 - constants all

# The bounds let the executor skip every month but those that the ids fall into.
_TRANSFERS: Final = text(f"""
SELECT {_TRANSFER_COLUMNS} FROM transfer
WHERE id = ANY(:ids) AND id >= :first_id AND id <= :last_id
""")  # noqa: S608 - constants all

# Each side is cut to a page by its own index before the two are merged.
_SIDE: Final = """
(SELECT {columns} FROM transfer
 WHERE {side}_account_id = :account_id AND timestamp BETWEEN :timestamp_min AND :timestamp_max
   AND (timestamp, id) {beyond} (CAST(:after_timestamp AS bigint), CAST(:after_id AS uuid))
 ORDER BY timestamp {order}, id {order} LIMIT :limit)
"""

# The sums run over everything the account ever did up to the end of the page, expiries of holds
# included; only transfers are points of its history.
_POINTS: Final = """
SELECT timestamp, transfer_id, debits_pending, debits_posted, credits_pending, credits_posted
FROM (
    SELECT timestamp, transfer_id, transfers, side,
           (sum(debits_pending) OVER w)::bigint AS debits_pending,
           (sum(debits_posted) OVER w)::bigint AS debits_posted,
           (sum(credits_pending) OVER w)::bigint AS credits_pending,
           (sum(credits_posted) OVER w)::bigint AS credits_posted
    FROM ({entries}) AS entry
    WHERE account_id = :account_id AND timestamp <= :timestamp_max
    WINDOW w AS (ORDER BY timestamp, transfers, transfer_id ROWS UNBOUNDED PRECEDING)
) AS point
WHERE transfers = 1 AND side = ANY(CAST(:sides AS text[])) AND timestamp >= :timestamp_min
  AND (timestamp, transfer_id)
      {beyond} (CAST(:after_timestamp AS bigint), CAST(:after_id AS uuid))
ORDER BY timestamp {order}, transfer_id {order} LIMIT :limit
"""

_BALANCE_AT: Final = text(f"""
SELECT coalesce(sum(debits_pending), 0)::bigint, coalesce(sum(debits_posted), 0)::bigint,
       coalesce(sum(credits_pending), 0)::bigint, coalesce(sum(credits_posted), 0)::bigint
FROM ({ENTRIES}) AS entry WHERE account_id = :account_id AND timestamp <= :timestamp
""")  # noqa: S608 - constants all

_FLAGS: Final = text("SELECT flags FROM account WHERE id = :account_id")

_MAX_ID: Final = UUID(int=2**128 - 1)


class AccountState(msgspec.Struct, frozen=True):
    """An account: what it was created as, and its balance now."""

    account: Account
    balance: Balance


class Position(msgspec.Struct, frozen=True, order=True):
    """A place in an account's history: the last row of a page, for the next page to follow.

    Transfers of an account that nothing limits may share a timestamp, so the id counts too.
    """

    timestamp: int
    transfer_id: UUID


class AccountFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of an account's history: both timestamps are included.

    Raises ValueError when ``limit`` is not 1 to :data:`PAGE_MAX` or no side is asked for.
    """

    account_id: UUID
    limit: int
    timestamp_min: int = 0
    timestamp_max: int = TIMESTAMP_MAX
    debits: bool = True
    credits: bool = True
    newest_first: bool = False
    after: Position | None = None

    def __post_init__(self) -> None:
        """Refuse what has no bound or no meaning."""
        if not 1 <= self.limit <= PAGE_MAX:
            message = f"a page has 1 to {PAGE_MAX} rows, not {self.limit}"
            raise ValueError(message)
        if not (self.debits or self.credits):
            message = "ask for debits, credits or both"
            raise ValueError(message)

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides asked for, as they are written in SQL."""
        return ("debit",) * self.debits + ("credit",) * self.credits

    @property
    def values(self) -> dict[str, Any]:
        """The filter as parameters; a page after another one begins where that ended."""
        low, high, after = self.timestamp_min, self.timestamp_max, self.after
        if after is None:
            after = Position(high, _MAX_ID) if self.newest_first else Position(low - 1, NIL)
        elif self.newest_first:
            high = min(high, after.timestamp)
        else:
            low = max(low, after.timestamp)
        return {
            "account_id": self.account_id,
            "limit": self.limit,
            "timestamp_min": low,
            "timestamp_max": high,
            "after_timestamp": after.timestamp,
            "after_id": after.transfer_id,
        }


class AccountBalance(msgspec.Struct, frozen=True, gc=False):
    """The four counters of an account just after the transfer at ``position``."""

    position: Position
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int


class Counters(msgspec.Struct, frozen=True, gc=False):
    """The four counters of an account at a moment."""

    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int


async def lookup_accounts(
    connection: AsyncConnection, account_ids: Sequence[UUID]
) -> list[AccountState]:
    """Return the accounts in the order asked for; those that do not exist are left out.

    Raises ValueError above :data:`LOOKUP_MAX`.
    """
    _bound(account_ids)
    found: dict[UUID, AccountState] = {}
    for row in await connection.execute(_ACCOUNTS, {"ids": list(account_ids)}):
        width = len(_ACCOUNT_COLUMNS)
        fields = dict(zip(_ACCOUNT_COLUMNS, row[:width], strict=True))
        fields["user_data_128"] = fields["user_data_128"] or NIL
        found[row[0]] = AccountState(Account(**fields), Balance(*row[width:]))
    return [found[i] for i in account_ids if i in found]


async def lookup_transfers(
    connection: AsyncConnection, transfer_ids: Sequence[UUID]
) -> list[Transfer]:
    """Return the transfers in the order asked for; those that do not exist are left out.

    Raises ValueError above :data:`LOOKUP_MAX`.
    """
    _bound(transfer_ids)
    ids = sorted(transfer_ids)
    values = {"ids": ids, "first_id": ids[0] if ids else NIL, "last_id": ids[-1] if ids else NIL}
    found = {row[0]: transfer_from(row) for row in await connection.execute(_TRANSFERS, values)}
    return [found[i] for i in transfer_ids if i in found]


async def get_account_transfers(
    connection: AsyncConnection, wanted: AccountFilter
) -> list[Transfer]:
    """Return a page of the account's transfers; none for an account that does not exist."""
    statement = _transfers_sql(wanted.sides, newest_first=wanted.newest_first)
    rows = await connection.execute(statement, wanted.values)
    return [transfer_from(row) for row in rows]


async def get_account_balances(
    connection: AsyncConnection, wanted: AccountFilter
) -> list[AccountBalance]:
    """Return a page of the account's balances, one after each transfer that the filter asks for.

    None for an account without the ``history`` flag. They are recomputed from the account's
    beginning; what that costs grows with its number of transfers.
    """
    flags = (await connection.execute(_FLAGS, {"account_id": wanted.account_id})).scalar() or 0
    if not flags & ACCOUNT_HISTORY:
        return []
    values = wanted.values | {"sides": list(wanted.sides)}
    rows = await connection.execute(_points_sql(newest_first=wanted.newest_first), values)
    return [AccountBalance(Position(*row[:2]), *row[2:]) for row in rows]


async def get_balance_at(
    connection: AsyncConnection, account_id: UUID, *, timestamp: int
) -> Counters:
    """Return the counters of an account after everything that happened up to ``timestamp``.

    All are 0 before its first transfer, and for an account that does not exist.
    """
    values = {"account_id": account_id, "timestamp": timestamp}
    return Counters(*(await connection.execute(_BALANCE_AT, values)).one())


def _bound(ids: Sequence[UUID]) -> None:
    if len(ids) > LOOKUP_MAX:
        message = f"{len(ids)} ids in one lookup; at most {LOOKUP_MAX}"
        raise ValueError(message)


@cache
def _transfers_sql(sides: tuple[str, ...], *, newest_first: bool) -> TextClause:
    words = _words(newest_first=newest_first)
    pages = [_SIDE.format(columns=_TRANSFER_COLUMNS, side=side, **words) for side in sides]
    order = words["order"]
    return text(
        f"SELECT * FROM ({' UNION ALL '.join(pages)}) AS page"  # noqa: S608 - constants all
        f" ORDER BY timestamp {order}, id {order} LIMIT :limit"
    )


@cache
def _points_sql(*, newest_first: bool) -> TextClause:
    return text(_POINTS.format(entries=ENTRIES, **_words(newest_first=newest_first)))


def _words(*, newest_first: bool) -> dict[str, str]:
    return {"order": "DESC", "beyond": "<"} if newest_first else {"order": "ASC", "beyond": ">"}
