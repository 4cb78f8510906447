"""Note a receipt: what a provider reports becomes money of a programme, or waits in suspense.

An event of a provider is noted once, however often and from how many sides at once it is
reported. The order's row is locked, so that of two payments for one order, or of a payment and
the closing of the order, one is first.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.clock import to_datetime
from wallet.core.database import Connection
from wallet.core.ids import numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.core.outbox import Event, append
from wallet.core.refusals import Refusal
from wallet.ledger.chart import (
    ACCOUNT_RECEIPTS,
    ACCOUNT_SUSPENSE,
    TRANSFER_RECEIPT,
    TRANSFER_SUSPENDED,
)
from wallet.ledger.rules import (
    ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS,
    LINKED,
    Account,
    AccountCode,
    Transfer,
    TransferCode,
)
from wallet.ledger.work import Batch, Facts
from wallet.receipts.rules import (
    RECEIPTS_ACCOUNT_IDS,
    SUSPENDED_NUMBER,
    SUSPENSE_ACCOUNT_ID,
    Arrival,
    Match,
    Method,
    Order,
    match,
)
from wallet.receipts.storage import (
    NewReceipt,
    Noted,
    Payment,
    ProgrammeAccount,
    find_programmes,
    find_receipts,
    insert_receipts,
    lock_by_reference,
    pay_orders,
)


class NoteReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider reports: money for a reference, under an id of its own for the event.

    ``receipt_id`` is ours, made by :func:`align_id`; a repeat keeps the first one's.
    ``authenticated`` is whether a card's holder was asked by 3-D Secure. ``card_key`` is keyed.
    """

    receipt_id: UUID
    provider: Method
    provider_event: str
    reference: str
    amount_yen: int
    received_us: int
    authenticated: bool = False
    card_key: bytes | None = None


class ReceiptNoted(msgspec.Struct, frozen=True, gc=False):
    """What the money was for; ``order_id`` None: nothing was known of its reference."""

    receipt_id: UUID
    order_id: UUID | None
    matched_yen: int
    suspended_yen: int
    because: str | None
    replayed: bool


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Nothing was noted; the provider may report it again."""

    refusal: Refusal


class ReceiptFacts(Facts):
    """Orders and events that a batch of receipts is about; its decisions add to them."""

    __slots__ = ("events", "noted", "orders", "payments", "programmes", "receipts")

    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[str, Order] = {}
        self.receipts: dict[tuple[str, str], Noted] = {}
        self.programmes: dict[UUID, ProgrammeAccount] = {}
        self.noted: list[NewReceipt] = []
        self.payments: list[Payment] = []
        self.events: list[Event] = []


class Note:
    """The kind of work behind :data:`NOTE`."""

    async def gather(
        self, connection: Connection, requests: Sequence[NoteReceipt], now_us: int
    ) -> ReceiptFacts:
        """Lock the orders, and find what was noted before; then the accounts are known."""
        del now_us
        facts = ReceiptFacts()
        facts.orders = await lock_by_reference(connection, {r.reference for r in requests})
        # After the lock: whoever has just noted the same event held it until the commit.
        events = {(str(r.provider), r.provider_event) for r in requests}
        facts.receipts = await find_receipts(connection, events)
        facts.programmes = await find_programmes(connection, facts.orders.values())
        for request in requests:
            facts.added_ids.add(RECEIPTS_ACCOUNT_IDS[request.provider])
        for programme in facts.programmes.values():
            facts.added_ids.add(programme.clearing_account_id)
        if _may_suspend(requests, facts):
            facts.added_ids.add(SUSPENSE_ACCOUNT_ID)
        return facts

    def decide(
        self, request: NoteReceipt, facts: ReceiptFacts, batch: Batch
    ) -> ReceiptNoted | Refused:
        """Decide one receipt against the book; pure but for the book and the facts."""
        event = (str(request.provider), request.provider_event)
        noted = facts.receipts.get(event)
        if noted is not None:
            return _repeat(request, noted)
        if "all" in batch.stops:
            return Refused(Refusal("service_stopped"))
        order = facts.orders.get(request.reference)
        found = match(order, _arrival(request))
        _book(request, order, found, facts, batch)
        matched = order if order is not None and found.matched_yen else None
        known = None if order is None or found.because == "unknown" else order.id
        new = Noted(
            request.receipt_id,
            request.reference,
            known,
            request.amount_yen,
            found.suspended_yen,
            found.because,
        )
        facts.receipts[event] = new
        _write_down(request, new, matched, facts)
        return _answer(new, replayed=False)

    async def record(
        self, connection: Connection, facts: ReceiptFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write the receipts, the orders they have paid, and the events."""
        del answers
        await insert_receipts(connection, facts.noted, now_us=batch.now_us)
        await pay_orders(connection, facts.payments)
        await append(connection, events=facts.events, now=to_datetime(batch.now_us))


NOTE: Final = Note()
"""The kind of work that notes receipts."""


def open_accounts(batch: Batch, account_ids: Sequence[UUID]) -> None:
    """Open those that are missing of the providers' accounts and of suspense's, once in a city."""
    missing = [_account(one) for one in account_ids if one not in batch.book.balances]
    codes = [result.code for result in batch.book.create_accounts(missing)]
    if set(codes) - {AccountCode.CREATED}:
        message = f"the ledger refused the accounts of receipts: {[str(code) for code in codes]}"
        raise RuntimeError(message)


def _account(account_id: UUID) -> Account:
    if account_id != SUSPENSE_ACCOUNT_ID:
        return Account(account_id, LEDGER_JPY, ACCOUNT_RECEIPTS)
    # No more is ever given back than has come in.
    guard = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS
    return Account(account_id, LEDGER_JPY, ACCOUNT_SUSPENSE, guard)


def book_chain(transfers: Sequence[Transfer], batch: Batch) -> None:
    """Book transfers that fit as one chain."""
    last = len(transfers) - 1
    chain = [
        msgspec.structs.replace(transfer, flags=LINKED if number < last else 0)
        for number, transfer in enumerate(transfers)
    ]
    codes = [str(result.code) for result in batch.book.create_transfers(chain)]
    if set(codes) - {TransferCode.CREATED}:
        message = f"the ledger refused a receipt: {codes}"
        raise RuntimeError(message)


def _may_suspend(requests: Sequence[NoteReceipt], facts: ReceiptFacts) -> bool:
    """Whether a receipt may not match: only then is the account locked that all of them share."""
    references = {request.reference for request in requests}
    if len(references) < len(requests):
        return True
    found = (match(facts.orders.get(r.reference), _arrival(r)) for r in requests)
    return any(one.suspended_yen for one in found)


def _arrival(request: NoteReceipt) -> Arrival:
    return Arrival(
        provider=request.provider,
        amount_yen=request.amount_yen,
        authenticated=request.authenticated,
    )


def _repeat(request: NoteReceipt, noted: Noted) -> ReceiptNoted | Refused:
    if (noted.reference, noted.amount_yen) != (request.reference, request.amount_yen):
        return Refused(Refusal("receipt_differs", {"amount_yen": noted.amount_yen}))
    return _answer(noted, replayed=True)


def _answer(noted: Noted, *, replayed: bool) -> ReceiptNoted:
    return ReceiptNoted(
        noted.id,
        noted.order_id,
        noted.amount_yen - noted.suspended_yen,
        noted.suspended_yen,
        noted.because,
        replayed=replayed,
    )


def _book(
    request: NoteReceipt, order: Order | None, found: Match, facts: ReceiptFacts, batch: Batch
) -> None:
    """Credit the programmes with what is for them, and suspense with the rest, as one chain."""
    source_id = RECEIPTS_ACCOUNT_IDS[request.provider]
    open_accounts(batch, [source_id, SUSPENSE_ACCOUNT_ID] if found.suspended_yen else [source_id])
    transfers = []
    if order is not None and found.matched_yen:
        for number, share in enumerate(order.shares, 1):
            programme = facts.programmes[share.programme_id]
            transfers.append(
                Transfer(
                    numbered_id(request.receipt_id, number),
                    source_id,
                    programme.clearing_account_id,
                    share.amount_yen,
                    LEDGER_JPY,
                    TRANSFER_RECEIPT,
                    user_data_128=order.id,
                    user_data_32=programme.number,
                )
            )
    if found.suspended_yen:
        transfers.append(
            Transfer(
                numbered_id(request.receipt_id, SUSPENDED_NUMBER),
                source_id,
                SUSPENSE_ACCOUNT_ID,
                found.suspended_yen,
                LEDGER_JPY,
                TRANSFER_SUSPENDED,
                user_data_128=request.receipt_id,
            )
        )
    book_chain(transfers, batch)


def _write_down(request: NoteReceipt, new: Noted, paid: Order | None, facts: ReceiptFacts) -> None:
    """Keep what :meth:`Note.record` writes, and what later receipts of the batch must see."""
    facts.noted.append(
        NewReceipt(
            id=new.id,
            provider=request.provider,
            provider_event=request.provider_event,
            reference=new.reference,
            order_id=new.order_id,
            amount_yen=new.amount_yen,
            suspended_yen=new.suspended_yen,
            because=new.because,
            received_us=request.received_us,
        )
    )
    if paid is not None:
        facts.payments.append(Payment(paid.id, request.received_us, request.card_key))
        facts.orders[request.reference] = msgspec.structs.replace(paid, state="paid")
        facts.events.append(_event("receipt.matched", new, paid))
    if new.suspended_yen:
        facts.events.append(_event("receipt.suspended", new, None))


_encode: Final = msgspec.json.Encoder().encode


def _event(kind: str, new: Noted, order: Order | None) -> Event:
    """The thin body others will hear: ids, amounts and the reason."""
    body = {"receipt_id": new.id, "order_id": new.order_id}
    if order is None:
        return Event(
            numbered_id(new.id, SUSPENDED_NUMBER),
            kind,
            _encode({**body, "amount_yen": new.suspended_yen, "because": new.because}).decode(),
        )
    told = {
        **body,
        "purpose": order.purpose,
        "reference_id": order.reference_id,
        "amount_yen": order.amount_yen,
    }
    return Event(new.id, kind, _encode(told).decode())
