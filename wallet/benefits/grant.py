"""Grant: what a roster entitles somebody to becomes money in a purse of theirs, once.

It comes from the programme's budget, as a kind of work of the teller. What is to be granted is in
rows that the office decided on; a batch locks them before anything else, so two workers never
grant the same one, and a run that was paused or withdrawn stops with the next batch. What cannot
be granted now stays due and says why.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.clock import japanese_day, to_datetime
from wallet.core.database import Connection
from wallet.core.ids import new_id, numbered_id
from wallet.core.money import LEDGER_JPY
from wallet.core.outbox import Event, append
from wallet.core.refusals import Refusal
from wallet.ledger.chart import TRANSFER_GRANT
from wallet.ledger.rules import AccountCode, Transfer, TransferCode
from wallet.ledger.work import Batch, Facts
from wallet.ops.rules import ScopeKind, matches
from wallet.programmes.purses import (
    WalletFacts,
    find_purse,
    insert_purses,
    lock_wallets,
    purse_account,
)
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Funding, Programme, Purse
from wallet.programmes.terms import expires_on_of

AGAIN_AFTER: Final = timedelta(hours=1)
"""When a grant is tried again that a frozen wallet or an empty budget has held up."""

_LOCK: Final = """
SELECT g.id, g.programme_id, g.wallet_id, g.amount_yen, g.state,
       r.state = 'approved' AND r.paused_at IS NULL
FROM (
    SELECT * FROM benefit_grant WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
) AS g
JOIN benefit_run AS r ON r.id = ANY (ARRAY[g.run_id])
"""

_FIND_VERSIONS: Final = "SELECT id, version FROM programme WHERE id = ANY($1::uuid[])"

_GRANTED: Final = """
UPDATE benefit_grant AS g
SET state = 'granted', because = NULL, due_at = NULL, account_id = new.account_id, granted_at = $3
FROM unnest($1::uuid[], $2::uuid[]) AS new (id, account_id)
WHERE g.id = ANY (ARRAY[new.id])
"""

_HELD_UP: Final = """
UPDATE benefit_grant AS g SET because = new.because, due_at = $3
FROM unnest($1::uuid[], $2::text[]) AS new (id, because)
WHERE g.id = ANY (ARRAY[new.id])
"""


class DueGrant(msgspec.Struct, frozen=True, gc=False):
    """A grant as its locked row has it; ``may_go_on`` is what its run says."""

    id: UUID
    programme_id: UUID
    wallet_id: UUID
    amount_yen: int
    state: str
    may_go_on: bool


class Given(msgspec.Struct, frozen=True, gc=False):
    """What a wallet has received; ``replayed`` when it had received it before."""

    grant_id: UUID
    wallet_id: UUID
    amount_yen: int
    replayed: bool


class HeldUp(msgspec.Struct, frozen=True, gc=False):
    """Nothing was given, and why; the row stays as due as it was."""

    refusal: Refusal


class GrantFacts(Facts):
    """What a batch of grants needs to know, by its keys; its decisions add to it."""

    __slots__ = ("day", "given", "grants", "held_up", "new_purses", "programmes", "wallets")

    day: date
    grants: dict[UUID, DueGrant]
    programmes: Mapping[UUID, Programme]
    wallets: dict[UUID, WalletFacts]

    def __init__(self, *, now_us: int) -> None:
        super().__init__()
        self.day = japanese_day(now_us)
        self.new_purses: list[tuple[UUID, Purse]] = []
        self.given: list[tuple[DueGrant, UUID]] = []
        self.held_up: list[tuple[UUID, str]] = []


class Grant:
    """The kind of work behind :data:`GRANT`; a request is the id of a grant that is due."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self, connection: Connection, requests: Sequence[UUID], now_us: int
    ) -> GrantFacts:
        """Lock the rows, then the wallets, and read what else the decisions look at."""
        facts = GrantFacts(now_us=now_us)
        rows = await connection.fetch(_LOCK, list(requests))
        facts.grants = {row[0]: DueGrant(*row) for row in rows}
        due = [grant for grant in facts.grants.values() if grant.state == "due"]
        facts.wallets = await lock_wallets(connection, {grant.wallet_id for grant in due})
        programme_ids = {grant.programme_id for grant in facts.grants.values()}
        versions = dict(await connection.fetch(_FIND_VERSIONS, list(programme_ids)))
        facts.programmes = await self._shelf.take(connection, versions)
        for programme_id in programme_ids:
            facts.account_ids.add(facts.programmes[programme_id].budget_account_id)
        facts.account_ids.update(
            purse.account_id
            for wallet in facts.wallets.values()
            for purse in wallet.purses
            if purse.programme_id in programme_ids
        )
        return facts

    def decide(self, request: UUID, facts: GrantFacts, batch: Batch) -> Given | HeldUp:
        """Decide one grant against the book; pure but for the book and the facts."""
        grant = facts.grants.get(request)
        if grant is None:
            return HeldUp(Refusal("benefit_grant_unknown"))
        if grant.state == "granted":
            return Given(grant.id, grant.wallet_id, grant.amount_yen, replayed=True)
        programme = facts.programmes[grant.programme_id]
        stops = batch.stops
        if stops and matches(stops, ScopeKind.ISSUE, programme=programme.code):
            return HeldUp(Refusal("service_stopped"))
        if grant.state != "due" or not grant.may_go_on:
            return HeldUp(Refusal("benefit_run_paused"))
        refusal = _check(grant, programme, facts, batch)
        if refusal is not None:
            facts.held_up.append((grant.id, refusal.code))
            return HeldUp(refusal)
        facts.given.append((grant, _book(grant, programme, facts, batch)))
        facts.grants[request] = msgspec.structs.replace(grant, state="granted")
        return Given(grant.id, grant.wallet_id, grant.amount_yen, replayed=False)

    async def record(
        self, connection: Connection, facts: GrantFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write the new purses, what has become of the rows, and the events."""
        del answers
        now = to_datetime(batch.now_us)
        await insert_purses(connection, facts.new_purses)
        if facts.given:
            ids = [grant.id for grant, _ in facts.given]
            await connection.execute(_GRANTED, ids, [purse for _, purse in facts.given], now)
        if facts.held_up:
            ids, reasons = map(list, zip(*facts.held_up, strict=True))
            await connection.execute(_HELD_UP, ids, reasons, now + AGAIN_AFTER)
        events = [_event(grant, batch.now_us) for grant, _ in facts.given]
        await append(connection, events=events, now=now)


GRANT: Final = Grant()
"""The kind of work that grants; one in a process, with one shelf of programmes."""


def _check(
    grant: DueGrant, programme: Programme, facts: GrantFacts, batch: Batch
) -> Refusal | None:
    wallet = facts.wallets.get(grant.wallet_id)
    if wallet is None or wallet.state != "active":
        return Refusal("wallet_frozen")
    if expires_on_of(programme.terms, facts.day) < facts.day:
        return Refusal("outside_period", {"last_day": programme.spending.last_day})
    left_yen = batch.book.available(programme.budget_account_id)
    if grant.amount_yen > left_yen:
        return Refusal("budget_exhausted", {"left_yen": left_yen})
    return None


def _book(grant: DueGrant, programme: Programme, facts: GrantFacts, batch: Batch) -> UUID:
    """Open the purse when it is missing, fill it, and return its account; it fits."""
    wallet = facts.wallets[grant.wallet_id]
    transfer_id, expires_on = numbered_id(grant.id, 1), expires_on_of(programme.terms, facts.day)
    codes: list[str] = []
    purse = find_purse(
        wallet.purses, programme_id=programme.id, funding=Funding.FREE, expires_on=expires_on
    )
    if purse is None:
        purse = Purse(transfer_id, programme.id, Funding.FREE, expires_on)
        account = purse_account(
            purse.account_id, wallet_id=grant.wallet_id, programme_number=programme.number
        )
        codes += [str(result.code) for result in batch.book.create_accounts([account])]
        wallet.purses.append(purse)
        facts.new_purses.append((grant.wallet_id, purse))
    transfer = Transfer(
        transfer_id,
        programme.budget_account_id,
        purse.account_id,
        grant.amount_yen,
        LEDGER_JPY,
        TRANSFER_GRANT,
        user_data_128=grant.wallet_id,
        user_data_32=programme.number,
    )
    codes += [str(result.code) for result in batch.book.create_transfers([transfer])]
    if set(codes) - {AccountCode.CREATED, TransferCode.CREATED}:
        message = f"the ledger refused a grant that fits: {codes}"
        raise RuntimeError(message)
    return purse.account_id


_encode: Final = msgspec.json.Encoder().encode


def _event(grant: DueGrant, now_us: int) -> Event:
    """The thin body others will hear; which benefit it is stays here."""
    body = {
        "grant_id": str(grant.id),
        "wallet_id": str(grant.wallet_id),
        "amount_yen": grant.amount_yen,
    }
    return Event(new_id(now_us=now_us), "benefit.granted", _encode(body).decode())
