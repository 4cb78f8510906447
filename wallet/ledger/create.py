"""Create accounts and transfers: the ledger's own door into the teller, in TigerBeetle's terms."""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.database import Connection
from wallet.core.refusals import RefusedError
from wallet.ledger import storage
from wallet.ledger.open_accounts import OPEN_AMOUNT_MAX
from wallet.ledger.rules import (
    BALANCING_CREDIT,
    BALANCING_DEBIT,
    CLOSING_CREDIT,
    CLOSING_DEBIT,
    NIL,
    Account,
    AccountResult,
    Transfer,
    TransferResult,
)
from wallet.ledger.teller import Teller
from wallet.ledger.work import Batch, Facts, Foreseen

EVENTS_MAX: Final = 8_189
"""Events in one request, as in TigerBeetle."""

READS_BALANCE: Final = BALANCING_DEBIT | BALANCING_CREDIT | CLOSING_DEBIT | CLOSING_CREDIT
"""Flags of transfers whose outcome depends on a balance even where nothing limits it."""


class CreateRequest(msgspec.Struct, frozen=True):
    """Accounts and then transfers to create, as one request: its chains stay inside it."""

    accounts: tuple[Account, ...] = ()
    transfers: tuple[Transfer, ...] = ()

    @property
    def weight(self) -> int:
        """How many events the request brings; a batch is bounded by their sum."""
        return len(self.accounts) + len(self.transfers)


class CreateAnswer(msgspec.Struct, frozen=True):
    """One result for each event, in the order of the request."""

    accounts: list[AccountResult]
    transfers: list[TransferResult]


class Create:
    """The kind of work behind :func:`create_accounts` and :func:`create_transfers`."""

    def foresee(self, requests: Sequence[CreateRequest]) -> Foreseen | None:
        """Return what plain transfers need; accounts, posts and voids are read for."""
        facts = Foreseen()
        for request in requests:
            if request.accounts or any(t.pending_id != NIL for t in request.transfers):
                return None
            facts.transfer_ids.update([t.id for t in request.transfers])
            _note_accounts(facts, request.transfers)
        return facts if facts.transfer_ids else None

    async def gather(
        self, connection: Connection, requests: Sequence[CreateRequest], now_us: int
    ) -> Facts:
        """Find what is known of every id in the requests."""
        del now_us
        facts = Facts()
        transfers = [transfer for request in requests for transfer in request.transfers]
        account_ids = [account.id for request in requests for account in request.accounts]
        facts.prior = await _prior(connection, transfers, account_ids)
        facts.account_ids.update(account_ids)
        _note_accounts(facts, transfers)
        return facts

    def decide(self, request: CreateRequest, facts: Facts, batch: Batch) -> CreateAnswer:
        """Apply the request to the book.

        Raises :class:`RefusedError` ``service_stopped`` when everything is stopped and the
        request would book a transfer; repeats and refusals are answered all the same.
        """
        del facts
        booked = len(batch.book.booked)
        answer = CreateAnswer(
            batch.book.create_accounts(request.accounts) if request.accounts else [],
            batch.book.create_transfers(request.transfers) if request.transfers else [],
        )
        if "all" in batch.stops and len(batch.book.booked) > booked:
            raise RefusedError("service_stopped")
        return answer

    async def record(
        self, connection: Connection, facts: Facts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """The ledger's own rows are written with the book; there is nothing besides."""


CREATE = Create()


def _note_accounts(facts: Facts, transfers: Iterable[Transfer]) -> None:
    for t in transfers:
        is_large = t.amount > OPEN_AMOUNT_MAX and t.pending_id == NIL
        is_exact = t.flags & READS_BALANCE or is_large
        touched = facts.account_ids if is_exact else facts.added_ids
        touched.add(t.debit_account_id)
        touched.add(t.credit_account_id)


async def _prior(
    connection: Connection, transfers: list[Transfer], account_ids: list[UUID]
) -> storage.Prior:
    pending_ids = {t.pending_id for t in transfers if t.pending_id != NIL}
    accounts = await storage.find_accounts(connection, account_ids) if account_ids else {}
    holds = await storage.lock_holds(connection, pending_ids)
    booked: dict[UUID, Transfer] = {}
    burnt: set[UUID] = set()
    if transfers:
        ids = {transfer.id for transfer in transfers} | pending_ids
        booked, burnt = await storage.find_transfers(connection, ids)
    return storage.Prior(accounts=accounts, transfers=booked, holds=holds, burnt=burnt)


async def create_accounts(teller: Teller, accounts: Sequence[Account]) -> list[AccountResult]:
    """Create accounts; one result each, in order. Raises ValueError above :data:`EVENTS_MAX`."""
    _bound(accounts)
    answer: CreateAnswer = await teller.submit(CREATE, CreateRequest(accounts=tuple(accounts)))
    return answer.accounts


async def create_transfers(teller: Teller, transfers: Sequence[Transfer]) -> list[TransferResult]:
    """Create transfers; one result each, in order; the call is one batch, chains included.

    Repeats are answered ``exists``. Raises ValueError above :data:`EVENTS_MAX`,
    :class:`RefusedError` ``service_stopped``, :class:`~wallet.ledger.teller.Overloaded` and
    :class:`~wallet.ledger.teller.OutcomeUnknown`.
    """
    _bound(transfers)
    answer: CreateAnswer = await teller.submit(CREATE, CreateRequest(transfers=tuple(transfers)))
    return answer.transfers


def _bound(events: Sequence[object]) -> None:
    if len(events) > EVENTS_MAX:
        message = f"{len(events)} events in one request; at most {EVENTS_MAX}"
        raise ValueError(message)
