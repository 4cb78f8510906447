"""Grant bonuses for what is no payment: a charge, a civic event.

The room in which it happens writes a row of ``bonus_due`` and the worker has it decided here, under
the same caps and out of the same budgets as a payment's, once and for good. What the terms give for
the moment of the event is given, whenever it is decided. A stop lets it wait.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from wallet.core.clock import JST, to_datetime
from wallet.core.database import Connection
from wallet.core.outbox import Event, append
from wallet.ledger.rules import Transfer, TransferCode
from wallet.ledger.storage import LostRowsError
from wallet.ledger.work import Batch, Facts
from wallet.payments.extras import (
    Extras,
    Offer,
    bonuses_due,
    keys_of,
    load_programmes,
    may_give,
    offers_of,
    reserve_of,
)
from wallet.payments.extras_storage import IS_COUNTED, TotalKey, give, read_totals, values_of
from wallet.payments.gifts import Gift, find_gifts, note_gifts, open_and_fill
from wallet.programmes.bonus import yen_of
from wallet.programmes.purses import WalletFacts, insert_purses, lock_wallets
from wallet.programmes.queries import ProgrammeShelf

_LOCK_DUE: Final = """
SELECT d.id, d.programme_id, d.event, d.bonus, d.wallet_id, d.base_yen, d.occurred_at, w.person_id,
       g.version
FROM (
    SELECT * FROM bonus_due WHERE id = ANY($1::uuid[]) AND decided_at IS NULL
    ORDER BY id FOR NO KEY UPDATE
) AS d
JOIN wallet AS w ON w.id = ANY (ARRAY[d.wallet_id])
JOIN programme AS g ON g.id = ANY (ARRAY[d.programme_id])
"""

_DECIDE: Final = f"""
WITH {give(1)}
UPDATE bonus_due AS d SET decided_at = $5, granted_yen = new.granted_yen
FROM unnest($20::uuid[], $21::bigint[]) AS new (id, granted_yen)
WHERE d.id = ANY (ARRAY[new.id]) AND {IS_COUNTED.format(19)}
"""  # noqa: S608 - parts of ours

_encode: Final = msgspec.json.Encoder().encode


class GrantBonus(msgspec.Struct, frozen=True, gc=False):
    """That the event ``due_id`` of a wallet is to be decided."""

    due_id: UUID
    wallet_id: UUID


class Granted(msgspec.Struct, frozen=True, gc=False):
    """What the event has brought in all; 0 where the caps and the budget left nothing."""

    due_id: UUID
    amount_yen: int


class Due(msgspec.Struct, frozen=True, gc=False):
    """An event as it was written down, locked and not yet decided."""

    id: UUID
    programme_id: UUID
    event: str
    bonus: str | None
    wallet_id: UUID
    base_yen: int
    occurred_at: datetime
    person_id: UUID | None
    version: int

    @property
    def holder_id(self) -> UUID:
        """Whom the bonus counts for."""
        return self.person_id or self.wallet_id


class GrantFacts(Facts):
    """What a batch of events needs to know, and what its decisions add."""

    __slots__ = ("decided", "due", "events", "extras", "offers", "wallets")

    wallets: dict[UUID, WalletFacts]
    due: dict[UUID, Due]

    def __init__(self, *, now_us: int) -> None:
        super().__init__()
        self.extras = Extras(to_datetime(now_us))
        self.offers: dict[UUID, list[Offer]] = {}
        self.decided: list[tuple[UUID, int]] = []
        self.events: list[Event] = []


class Grant:
    """The kind of work behind :data:`GRANT`."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self, connection: Connection, requests: Sequence[GrantBonus], now_us: int
    ) -> GrantFacts:
        """Lock the wallets and the events that are not decided, and read what they may bring."""
        facts = GrantFacts(now_us=now_us)
        facts.wallets = await lock_wallets(connection, {r.wallet_id for r in requests})
        rows = await connection.fetch(_LOCK_DUE, [request.due_id for request in requests])
        facts.due = {row["id"]: Due(*row) for row in rows}
        await self._gather_offers(connection, facts)
        keys: set[TotalKey] = set()
        for one in facts.due.values():
            keys.update(keys_of(facts.offers[one.id], one.holder_id))
            purses = facts.wallets[one.wallet_id].purses
            facts.account_ids.update(purse.account_id for purse in purses)
        facts.extras.totals = await read_totals(connection, keys)
        for offers in facts.offers.values():
            for offer in offers:
                facts.account_ids.add(offer.programme.budget_account_id)
                if offer.vests_later:
                    facts.account_ids.add(reserve_of(offer.programme))
        return facts

    async def _gather_offers(self, connection: Connection, facts: GrantFacts) -> None:
        """Find the bonuses that the terms give for each event at its moment."""
        extras, shelf = facts.extras, self._shelf
        versions = {one.programme_id: one.version for one in facts.due.values()}
        programmes = await shelf.take(connection, versions)
        bonuses = {
            one.id: [
                bonus
                for bonus in bonuses_due(
                    programmes[one.programme_id],
                    one.event,  # type: ignore[arg-type] # the database checks the two
                    one.occurred_at.astimezone(JST),
                )
                if one.bonus in (None, bonus.code)
            ]
            for one in facts.due.values()
        }
        sources = [programmes[one] for one in versions]
        codes = {
            bonus.target or programmes[facts.due[due_id].programme_id].code
            for due_id, several in bonuses.items()
            for bonus in several
        }
        await load_programmes(connection, shelf, extras, codes, known=sources)
        for one in facts.due.values():
            facts.offers[one.id] = offers_of(extras, programmes[one.programme_id], bonuses[one.id])

    def decide(self, request: GrantBonus, facts: GrantFacts, batch: Batch) -> Granted | None:
        """Decide one event; None where it was decided before, or has to wait for a stop to end."""
        due = facts.due.pop(request.due_id, None)
        if due is None:
            return None
        offers = facts.offers[due.id]
        if not all(may_give(offer.programme, batch) for offer in offers):
            return None
        wallet = facts.wallets[due.wallet_id]
        gifts = find_gifts(
            facts.extras,
            [] if wallet.state == "closed" else offers,
            lambda offer: yen_of(offer.bonus, base_yen=due.base_yen),
            holder_id=due.holder_id,
            batch=batch,
            taken_yen={},
        )
        transfers = open_and_fill(
            facts.extras,
            gifts,
            wallet.purses,
            source_id=due.id,
            wallet_id=due.wallet_id,
            batch=batch,
        )
        book_chain(transfers, batch)
        note_gifts(facts.extras, gifts, transfers, payment_id=None, holder_id=due.holder_id)
        amount_yen = sum(gift.amount_yen for gift in gifts)
        facts.decided.append((due.id, amount_yen))
        facts.events += [
            _event(transfer.id, due.wallet_id, gift)
            for gift, transfer in zip(gifts, transfers, strict=True)
        ]
        return Granted(due.id, amount_yen)

    async def record(
        self, connection: Connection, facts: GrantFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write the decisions, the bonuses and the new purses, and tell of them."""
        del answers
        if not facts.decided:
            return
        extras = facts.extras
        await insert_purses(connection, extras.new_purses)
        status = await connection.execute(
            _DECIDE,
            *values_of(extras.new_grants, extras.totals, now=extras.now),
            [due_id for due_id, _ in facts.decided],
            [amount_yen for _, amount_yen in facts.decided],
        )
        if status != f"UPDATE {len(facts.decided)}":
            message = "somebody else has counted a bonus of the same person meanwhile"
            raise LostRowsError(message)
        await append(connection, events=facts.events, now=to_datetime(batch.now_us))


GRANT: Final = Grant()
"""The kind of work that grants bonuses for events; one in a process, with one shelf."""


def book_chain(transfers: Sequence[Transfer], batch: Batch) -> None:
    """Book linked transfers, the last one closing the chain; they fit, so they succeed."""
    if not transfers:
        return
    chain = [*transfers[:-1], replace(transfers[-1], flags=0)]
    results = batch.book.create_transfers(chain)
    if any(result.code is not TransferCode.CREATED for result in results):
        message = f"the ledger refused a bonus that fits: {[str(r.code) for r in results]}"
        raise RuntimeError(message)


def _event(event_id: UUID, wallet_id: UUID, gift: Gift) -> Event:
    offer = gift.offer
    return bonus_event(
        event_id,
        "bonus.granted",
        wallet_id=wallet_id,
        programme=offer.programme.code,
        amount_yen=gift.amount_yen,
        usable_on=offer.usable_on,
    )


def bonus_event(
    event_id: UUID, kind: str, *, wallet_id: UUID, programme: str, amount_yen: int, usable_on: date
) -> Event:
    """Return the thin body others will hear: ids, amounts and a day."""
    body = {
        "bonus_id": str(event_id),
        "wallet_id": str(wallet_id),
        "programme": programme,
        "amount_yen": amount_yen,
        "usable_on": usable_on.isoformat(),
    }
    return Event(event_id, kind, _encode(body).decode())
