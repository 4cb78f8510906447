"""Charge: a holder pays the city, and what they have paid is coin in their wallet.

Asking writes a row and an order with the payment provider, in one transaction, and moves nothing.
When the money has come (:mod:`wallet.receipts`), the worker fills a purse of paid money from the
programme's clearing account, once. What may be charged is looked at when it is asked for, with all
that is still to be paid counted as if it were; what was paid is never withheld afterwards.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.database import Connection
from wallet.core.ids import numbered_id
from wallet.core.outbox import Event, append
from wallet.core.refusals import Refusal
from wallet.ledger.chart import TRANSFER_ISSUE
from wallet.ledger.work import Batch
from wallet.ops.rules import ScopeKind, matches
from wallet.points.bonus_due import Due, has_bonus, insert_due
from wallet.points.parties import Party, PointsFacts, book_chain, transfer_of
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Funding, Programme, Purse
from wallet.programmes.terms import expires_on_of

CHARGED: Final = "charge.completed"

_COLUMNS: Final = "id, person_id, wallet_id, programme_id, amount_yen, method, state"

_FIND: Final = f"SELECT {_COLUMNS} FROM charge WHERE id = ANY($1::uuid[])"  # noqa: S608 - ours

_VERSIONS: Final = "SELECT id, version FROM programme WHERE id = ANY($1::uuid[])"

_SETTLE: Final = """
UPDATE charge AS c SET state = 'charged', charged_at = $2
WHERE c.id = ANY($1::uuid[]) AND c.state = 'waiting'
"""

_encode: Final = msgspec.json.Encoder().encode


class ChargeRow(msgspec.Struct, frozen=True, gc=False):
    """A charge as a batch finds it."""

    id: UUID
    person_id: UUID
    wallet_id: UUID
    programme_id: UUID
    amount_yen: int
    method: str
    state: str


class ChargeFacts(PointsFacts):
    """What a batch of charges that were paid needs to know."""

    __slots__ = ("bonuses", "charges", "done")

    def __init__(self, *, now_us: int) -> None:
        super().__init__(now_us=now_us)
        self.charges: dict[UUID, ChargeRow] = {}
        self.done: list[ChargeRow] = []
        self.bonuses: list[Due] = []


class ChargeWork:
    """The kind of work behind :data:`CHARGE`; a request is the id of a charge that was paid."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self, connection: Connection, requests: Sequence[UUID], now_us: int
    ) -> ChargeFacts:
        """Find the charges, lock the wallets, and find the charges again as they are now."""
        facts = ChargeFacts(now_us=now_us)
        found = [ChargeRow(*row) for row in await connection.fetch(_FIND, list(requests))]
        await facts.take_parties(connection, {one.person_id for one in found})
        rows = await connection.fetch(_FIND, list(requests))
        facts.charges = {row[0]: ChargeRow(*row) for row in rows}
        programme_ids = {one.programme_id for one in found}
        versions = dict(await connection.fetch(_VERSIONS, list(programme_ids)))
        await facts.take_programmes(connection, self._shelf, versions)
        facts.added_ids.update(one.clearing_account_id for one in facts.codes.values())
        return facts

    def decide(self, request: UUID, facts: ChargeFacts, batch: Batch) -> Refusal | None:
        """Fill the purse for one charge; None when it is filled, now or before."""
        charge = facts.charges.get(request)
        party = None if charge is None else facts.parties.get(charge.person_id)
        if charge is None or party is None:
            return Refusal("charge_unknown")
        if charge.state == "charged":
            return None
        programme = facts.programmes[charge.programme_id]
        if batch.stops and matches(
            batch.stops, ScopeKind.CHARGE, programme=programme.code, tier=party.tier
        ):
            return Refusal("service_stopped")  # What was paid waits, and is not lost.
        if facts.day > expires_on_of(programme.terms, facts.day):
            return Refusal("points_over")
        _book(charge, party, programme, facts, batch)
        done = msgspec.structs.replace(charge, state="charged")
        facts.charges[charge.id] = done
        facts.done.append(done)
        if has_bonus(programme, "charge"):
            facts.bonuses.append(Due(programme.id, "charge", party.wallet_id, charge.amount_yen))
        return None

    async def record(
        self, connection: Connection, facts: ChargeFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write that the charges are done, and what bonus is due for them."""
        del answers
        if not facts.done:
            return
        await facts.record_purses(connection)
        status = await connection.execute(_SETTLE, [one.id for one in facts.done], facts.now)
        if status != f"UPDATE {len(facts.done)}":
            message = f"of {len(facts.done)} charges not all waited: {status}"
            raise RuntimeError(message)
        await insert_due(connection, facts.bonuses, now=facts.now, now_us=batch.now_us)
        await append(connection, events=[_event(one, facts) for one in facts.done], now=facts.now)


CHARGE: Final = ChargeWork()
"""The kind of work that turns money which was paid into coin; one in a process."""


def _book(
    charge: ChargeRow, party: Party, programme: Programme, facts: ChargeFacts, batch: Batch
) -> None:
    transfer_id = numbered_id(charge.id, 1)
    expires_on = expires_on_of(programme.terms, facts.day)
    wanted = Purse(transfer_id, programme.id, Funding.PAID, expires_on)
    purse = facts.open_purse(party, wanted, batch)
    filled = transfer_of(
        transfer_id,
        accounts=(programme.clearing_account_id, purse.account_id),
        amount_yen=charge.amount_yen,
        code=TRANSFER_ISSUE,
        wallet_id=party.wallet_id,
        number=programme.number,
    )
    book_chain([filled], batch)


def _event(charge: ChargeRow, facts: ChargeFacts) -> Event:
    body = {
        "charge_id": charge.id,
        "person_id": charge.person_id,
        "programme": facts.programmes[charge.programme_id].code,
        "amount_yen": charge.amount_yen,
    }
    return Event(charge.id, CHARGED, _encode(body).decode())
