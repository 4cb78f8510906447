"""What must hold of the ledger's tables after anything: a naive replay that shares no code with it.

It reads what was booked, in the order of each account, and computes every balance anew. The
numbers of flags are written out, so that a wrong constant in the rules is found as well.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

import asyncpg

from wallet.core.database import Connection
from wallet.ledger.rules import MAX_ID, NIL

LINKED, PENDING, POST, VOID = 1, 2, 4, 8
CLOSING_DEBIT, CLOSING_CREDIT = 64, 128
CLOSED: Final = 32
COUNTERS: Final = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")

Row = Any
"""A row of one of the tables, by column."""


class Account:
    """An account as the replay has it so far."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.closed = bool(row["flags"] & CLOSED)
        self.count = 0
        self.stamps = [row["timestamp"]]
        self.debited = self.credited = False

    def check_limits(self) -> None:
        """Hold the account against the limits it was opened with."""
        flags, least, most = (self.row[f] for f in ("flags", "min_available", "max_balance"))
        debits_pending, debits, credits_pending, credits_ = self.counters.values()
        assert min(self.counters.values()) >= 0, self.row
        left, held = credits_ - debits - debits_pending, credits_ + credits_pending - debits
        assert not flags & 2 or left >= 0, self.row
        assert not flags & 4 or held <= 0, self.row
        assert least is None or not self.debited or left >= least, self.row
        assert most is None or not self.credited or held <= most, self.row


class Tables:
    """Everything the ledger has stored."""

    def __init__(self, rows: Mapping[str, list[asyncpg.Record]]) -> None:
        self.accounts = {row["id"]: Account(row) for row in rows["account"]}
        self.balances = {row["account_id"]: row for row in rows["balance"]}
        self.transfers = {row["id"]: row for row in rows["transfer"]}
        self.holds = {row["transfer_id"]: row for row in rows["pending_transfer"]}
        self.burnt = {row["id"] for row in rows["burnt_transfer"]}


KEYS: Final = {
    "account": "id",
    "balance": "account_id",
    "transfer": "id",
    "pending_transfer": "transfer_id",
    "burnt_transfer": "id",
}


async def read_tables(
    connection: Connection, *, first_id: UUID = NIL, last_id: UUID = MAX_ID
) -> Tables:
    """Read the ledger in one snapshot, or the part of it whose ids are in a range."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return Tables(
            {
                table: await connection.fetch(
                    f"SELECT * FROM {table} WHERE {key} BETWEEN $1 AND $2",  # noqa: S608 - as above
                    first_id,
                    last_id,
                )
                for table, key in KEYS.items()
            }
        )


def check_ledger(tables: Tables, *, tellers: int = 1) -> None:
    """Check every invariant; with several tellers, open accounts may have equal timestamps."""
    _check_holds(tables)
    _check_chains(tables)
    assert not tables.burnt & tables.transfers.keys(), "a told failure was booked"
    for event, row in _in_order(tables):
        _replay(tables, event, row)
    for account_id, account in tables.accounts.items():
        _check_balance(account, tables.balances[account_id], is_alone=tellers == 1)
    assert tables.accounts.keys() == tables.balances.keys()
    sums: defaultdict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COUNTERS, 0))
    for row in tables.balances.values():
        for counter in COUNTERS:
            sums[row["ledger"]][counter] += row[counter]
    for of_ledger in sums.values():
        assert of_ledger["debits_posted"] == of_ledger["credits_posted"]
        assert of_ledger["debits_pending"] == of_ledger["credits_pending"]


def _in_order(tables: Tables) -> Iterator[tuple[str, Row]]:
    """Yield bookings and expiries; where both fall on one moment, expiries come first."""
    events: list[tuple[int, int, str, Row]] = [
        (row["timestamp"], 1, "booked", row) for row in tables.transfers.values()
    ]
    events += [
        (hold["resolved_at"], 0, "expired", tables.transfers[id_])
        for id_, hold in tables.holds.items()
        if hold["state"] == "expired"
    ]
    for _, _, event, row in sorted(events, key=lambda one: one[:2]):
        yield event, row


def _replay(tables: Tables, event: str, row: Row) -> None:
    debit = tables.accounts[row["debit_account_id"]]
    credit = tables.accounts[row["credit_account_id"]]
    assert debit is not credit
    assert debit.row["ledger"] == credit.row["ledger"] == row["ledger"]
    pending: Row = tables.transfers.get(row["pending_id"], row)
    held, moved = 0, 0
    if event == "expired" or row["flags"] & (POST | VOID):
        held = -pending["amount"]
        moved = row["amount"] if row["flags"] & POST else 0
    elif row["flags"] & PENDING:
        held = row["amount"]
    else:
        moved = row["amount"]
    for account, side in ((debit, "debits"), (credit, "credits")):
        account.counters[f"{side}_pending"] += held
        account.counters[f"{side}_posted"] += moved
        if event == "booked":
            account.count += 1
            account.stamps.append(row["timestamp"])
    _replay_closing(event, row, pending, debit, credit)
    debit.debited = credit.credited = True
    for account in (debit, credit):
        account.check_limits()


def _replay_closing(event: str, row: Row, pending: Row, debit: Account, credit: Account) -> None:
    opens = event == "expired" or row["flags"] & VOID
    closing = pending["flags"] if opens else row["flags"]
    for account, flag in ((debit, CLOSING_DEBIT), (credit, CLOSING_CREDIT)):
        if closing & flag:
            account.closed = not opens
        elif event == "booked" and not opens:
            assert not account.closed, "a closed account was moved"


def _check_balance(account: Account, stored: Row, *, is_alone: bool) -> None:
    found = {counter: stored[counter] for counter in COUNTERS}
    assert found == account.counters, (account.row, found)
    assert stored["closed"] == account.closed, account.row
    assert stored["transfer_count"] == account.count, account.row
    assert stored["last_timestamp"] == max(account.stamps), account.row
    limited = account.row["flags"] or any(
        account.row[limit] is not None for limit in ("min_available", "max_balance")
    )
    if is_alone or limited:
        assert len(set(account.stamps)) == len(account.stamps), account.row


def _check_holds(tables: Tables) -> None:
    resolutions: defaultdict[UUID, list[Row]] = defaultdict(list)
    for row in tables.transfers.values():
        assert (row["id"] in tables.holds) == bool(row["flags"] & PENDING)
        if row["flags"] & (POST | VOID):
            resolutions[row["pending_id"]].append(row)
    for id_, hold in tables.holds.items():
        states = ["posted" if one["flags"] & POST else "voided" for one in resolutions[id_]]
        assert states == ([hold["state"]] if hold["state"] in ("posted", "voided") else [])
        transfer, expires_at = tables.transfers[id_], hold["expires_at"]
        timeout = transfer["timeout_s"] * 1_000_000
        assert expires_at == (transfer["timestamp"] + timeout if timeout else None)
        for one in resolutions[id_]:
            assert one["amount"] <= transfer["amount"]
            assert one["flags"] & POST or one["amount"] == transfer["amount"]
        if hold["state"] == "expired":
            assert hold["resolved_at"] >= expires_at


def _check_chains(tables: Tables) -> None:
    """A linked transfer is followed by the next one of its chain under the next timestamp."""
    stamps = {row["timestamp"] for row in tables.transfers.values()}
    for row in tables.transfers.values():
        assert not row["flags"] & LINKED or row["timestamp"] + 1 in stamps, "a broken chain"
