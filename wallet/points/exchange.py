"""Exchange: free money of one programme becomes free money of another, where its terms allow it.

It goes back to the one programme's budget and comes out of the other's, in one chain, so for each
of them what was issued is still circulating, redeemed, expired or refunded. The ratio is of whole
numbers and what comes in is floored; no more is taken than that costs.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.database import Connection
from wallet.core.ids import numbered_id
from wallet.core.outbox import Event, append
from wallet.core.refusals import Refusal
from wallet.ledger.chart import TRANSFER_EXCHANGE
from wallet.ledger.rules import Transfer
from wallet.ledger.work import Batch
from wallet.ops.rules import ScopeKind, matches
from wallet.points.give import Refused
from wallet.points.parties import (
    Party,
    PointsFacts,
    available_of,
    book_chain,
    transfer_of,
)
from wallet.points.rules import (
    EXCHANGE_LEGS_MAX,
    Swap,
    check_room,
    may_hold,
    plan_exchange,
    swap_of,
)
from wallet.programmes.purses import find_versions
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import SCHEDULED, Draw, Funding, Programme, Purse
from wallet.programmes.terms import expires_on_of

EXCHANGED: Final = "points.exchanged"

_FIND: Final = """
SELECT e.id, e.person_id, e.wallet_id, e.idempotency_key, e.from_programme_id, e.to_programme_id,
       e.offered_yen, e.given_yen, e.received_yen
FROM unnest($1::uuid[], $2::text[]) AS asked (person_id, key)
CROSS JOIN LATERAL (
    SELECT * FROM exchange
    WHERE person_id = asked.person_id AND idempotency_key = asked.key OFFSET 0
) AS e
"""

_INSERT: Final = """
INSERT INTO exchange (id, person_id, wallet_id, idempotency_key, from_programme_id,
                      to_programme_id, offered_yen, given_yen, received_yen, created_at)
SELECT new.*, $10 FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[],
                              $6::uuid[], $7::bigint[], $8::bigint[], $9::bigint[]) AS new
"""

_encode: Final = msgspec.json.Encoder().encode


class Exchange(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A person wants to change up to ``offered_yen``; the id is made by :func:`align_id`."""

    exchange_id: UUID
    person_id: UUID
    idempotency_key: str
    programme: str
    to: str
    offered_yen: int
    app_version: str | None = None


class ExchangeRow(msgspec.Struct, frozen=True, gc=False):
    """An exchange as it was made."""

    id: UUID
    person_id: UUID
    wallet_id: UUID
    idempotency_key: str
    from_programme_id: UUID
    to_programme_id: UUID
    offered_yen: int
    given_yen: int
    received_yen: int


class Exchanged(msgspec.Struct, frozen=True, gc=False):
    """The exchange was made, now or before (``replayed``)."""

    row: ExchangeRow
    replayed: bool


class ExchangeFacts(PointsFacts):
    """What a batch of exchanges needs to know."""

    __slots__ = ("by_key", "new")

    def __init__(self, *, now_us: int) -> None:
        super().__init__(now_us=now_us)
        self.by_key: dict[tuple[UUID, str], ExchangeRow] = {}
        self.new: list[ExchangeRow] = []


class ExchangeWork:
    """The kind of work behind :data:`EXCHANGE`."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self, connection: Connection, requests: Sequence[Exchange], now_us: int
    ) -> ExchangeFacts:
        """Lock the wallets, then read what was asked for before, and the programmes."""
        facts = ExchangeFacts(now_us=now_us)
        await facts.take_parties(connection, {r.person_id for r in requests})
        rows = await connection.fetch(
            _FIND, [r.person_id for r in requests], [r.idempotency_key for r in requests]
        )
        found = [ExchangeRow(*row) for row in rows]
        facts.by_key = {(one.person_id, one.idempotency_key): one for one in found}
        codes = {r.programme for r in requests} | {r.to for r in requests}
        versions = await find_versions(connection, codes)
        await facts.take_programmes(connection, self._shelf, versions)
        facts.account_ids.update(one.budget_account_id for one in facts.codes.values())
        return facts

    def decide(self, request: Exchange, facts: ExchangeFacts, batch: Batch) -> Exchanged | Refused:
        """Decide one request against the book."""
        source, target = facts.codes.get(request.programme), facts.codes.get(request.to)
        if source is None or target is None:
            unknown = request.programme if source is None else request.to
            return Refused(Refusal("programme_unknown", {"programme": unknown}))
        found = facts.by_key.get((request.person_id, request.idempotency_key))
        if found is not None:
            return _again(found, request, source, target)
        party = facts.parties.get(request.person_id)
        if party is None:
            return Refused(Refusal("wallet_unknown"))
        planned = _plan(request, party, source, target, facts, batch)
        if isinstance(planned, Refusal):
            return Refused(planned)
        swap, draws = planned
        row = ExchangeRow(
            request.exchange_id,
            party.id,
            party.wallet_id,
            request.idempotency_key,
            source.id,
            target.id,
            request.offered_yen,
            swap.given_yen,
            swap.received_yen,
        )
        _book(row, party, (source, target), draws, facts, batch)
        facts.by_key[row.person_id, row.idempotency_key] = row
        facts.new.append(row)
        return Exchanged(row, replayed=False)

    async def record(
        self, connection: Connection, facts: ExchangeFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write the exchanges and the purses that were opened."""
        del answers, batch
        if not facts.new:
            return
        await facts.record_purses(connection)
        names = ExchangeRow.__struct_fields__
        columns = ([getattr(row, name) for row in facts.new] for name in names)
        await connection.execute(_INSERT, *columns, facts.now)
        await append(connection, events=[_event(row, facts) for row in facts.new], now=facts.now)


EXCHANGE: Final = ExchangeWork()
"""The kind of work that exchanges; one in a process."""


def _again(
    found: ExchangeRow, request: Exchange, source: Programme, target: Programme
) -> Exchanged | Refused:
    asked = (source.id, target.id, request.offered_yen)
    if (found.from_programme_id, found.to_programme_id, found.offered_yen) != asked:
        return Refused(Refusal("idempotency_conflict"))
    return Exchanged(found, replayed=True)


def _plan(
    request: Exchange,
    party: Party,
    source: Programme,
    target: Programme,
    facts: ExchangeFacts,
    batch: Batch,
) -> tuple[Swap, list[Draw]] | Refusal:
    """Return what is swapped and where it is taken from, or the first reason not to."""
    refusal = _refuse(request, party, batch)
    if refusal is not None:
        return refusal
    rate = next((one for one in source.terms.exchanges if one.to == target.code), None)
    if rate is None or source.id == target.id:
        return Refusal("exchange_not_allowed", {"programme": source.code, "to": target.code})
    swap = swap_of(rate, offered_yen=request.offered_yen)
    if swap is None:
        return Refusal("exchange_too_small", {"least_yen": -(-rate.per // rate.times)})
    draws = plan_exchange(
        available_of(party, source, batch), amount_yen=swap.given_yen, day=facts.day
    )
    if isinstance(draws, Refusal):
        return draws
    return _refuse_target(party, target, swap, facts, batch) or (swap, draws)


def _refuse(request: Exchange, party: Party, batch: Batch) -> Refusal | None:
    for code in (request.programme, request.to) if batch.stops else ():
        if matches(
            batch.stops,
            ScopeKind.ISSUE,
            programme=code,
            tier=party.tier,
            app_version=request.app_version,
        ):
            return Refusal("service_stopped")
    return None if party.is_active else Refusal("wallet_frozen")


def _refuse_target(
    party: Party, target: Programme, swap: Swap, facts: ExchangeFacts, batch: Batch
) -> Refusal | None:
    """Return why the other money cannot come in; what it replaces makes room for it."""
    if target.state == SCHEDULED:
        return Refusal("programme_not_live", {"programme": target.code})
    if facts.day > expires_on_of(target.terms, facts.day):
        return Refusal("points_over", {"last_day": target.spending.last_day})
    if not may_hold(target.terms.eligibility, resident=party.resident):
        return Refusal("holder_not_eligible", {"programme": target.code})
    refusal = check_room(
        amount_yen=swap.received_yen,
        held_yen=facts.held_yen(party, batch) - swap.given_yen,
        held_programme_yen=facts.held_yen(party, batch, programme_id=target.id),
        tier=party.limits,
        caps=target.terms.caps,
    )
    if refusal is None and swap.received_yen > batch.book.available(target.budget_account_id):
        return Refusal("points_exhausted")
    return refusal


def _book(
    row: ExchangeRow,
    party: Party,
    programmes: tuple[Programme, Programme],
    draws: Sequence[Draw],
    facts: ExchangeFacts,
    batch: Batch,
) -> None:
    source, target = programmes
    legs: list[Transfer] = [
        transfer_of(
            numbered_id(row.id, number),
            accounts=(one.purse.account_id, source.budget_account_id),
            amount_yen=one.amount_yen,
            code=TRANSFER_EXCHANGE,
            wallet_id=party.wallet_id,
            number=source.number,
        )
        for number, one in enumerate(draws, 1)
    ]
    last_id = numbered_id(row.id, EXCHANGE_LEGS_MAX + 1)
    wanted = Purse(last_id, target.id, Funding.FREE, expires_on_of(target.terms, facts.day))
    purse = facts.open_purse(party, wanted, batch)
    legs.append(
        transfer_of(
            last_id,
            accounts=(target.budget_account_id, purse.account_id),
            amount_yen=row.received_yen,
            code=TRANSFER_EXCHANGE,
            wallet_id=party.wallet_id,
            number=target.number,
        )
    )
    book_chain(legs, batch)


def _event(row: ExchangeRow, facts: ExchangeFacts) -> Event:
    body = {
        "exchange_id": row.id,
        "person_id": row.person_id,
        "from": facts.programmes[row.from_programme_id].code,
        "to": facts.programmes[row.to_programme_id].code,
        "given_yen": row.given_yen,
        "received_yen": row.received_yen,
    }
    return Event(row.id, EXCHANGED, _encode(body).decode())
