"""Those between whom a batch moves money: people with their wallets, what these hold, programmes.

Wallets are locked first, by id, as everywhere; whatever else a gather reads of a person after that
(what they have given this month, whether they were here before) cannot change until it commits.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from wallet.core.clock import japanese_day, to_datetime
from wallet.core.database import Connection
from wallet.core.money import LEDGER_JPY
from wallet.core.refusals import Refusal
from wallet.ledger.rules import LINKED, AccountCode, Transfer, TransferCode
from wallet.ledger.work import Batch, Facts
from wallet.people.rules import Tier, TierLimits
from wallet.people.tiers import limits_of
from wallet.points.rules import check_room, may_hold
from wallet.programmes.purses import (
    find_purse,
    insert_purses,
    lock_wallets,
    purse_account,
)
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Programme, Purse

# A person's own wallet is the oldest that is not closed; those of children they look after belong
# to nobody or to the child. Written so that only look-ups by key are possible, even where it was
# planned on empty tables.
_FIND_PARTIES: Final = """
SELECT p.id, p.tier, p.state, p.cooling_until, p.resident, own.id
FROM unnest($1::uuid[]) AS asked (id)
JOIN person AS p ON p.id = ANY (ARRAY[asked.id])
CROSS JOIN LATERAL (
    SELECT (array_agg(id ORDER BY state = 'closed', id))[1] AS id FROM wallet
    WHERE person_id = asked.id OFFSET 0
) AS own
WHERE own.id IS NOT NULL
"""


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """A person with their own wallet; ``purses`` grows as a batch decides."""

    id: UUID
    tier: Tier
    is_active: bool
    cooling_until: datetime | None
    resident: bool | None
    wallet_id: UUID
    purses: list[Purse]

    @property
    def limits(self) -> TierLimits:
        """What the person's tier allows."""
        return limits_of(self.tier)


class PointsFacts(Facts):
    """What every kind of work here knows; each adds its own."""

    __slots__ = ("codes", "day", "new_purses", "now", "now_us", "parties", "programmes")

    def __init__(self, *, now_us: int) -> None:
        super().__init__()
        self.now_us = now_us
        self.now = to_datetime(now_us)
        self.day = japanese_day(now_us)
        self.parties: dict[UUID, Party] = {}
        self.programmes: Mapping[UUID, Programme] = {}
        self.codes: dict[str, Programme] = {}
        self.new_purses: list[tuple[UUID, Purse]] = []

    async def take_parties(self, connection: Connection, person_ids: Iterable[UUID]) -> None:
        """Find the people, lock their wallets, and have all their purses in the book."""
        rows = await connection.fetch(_FIND_PARTIES, list(set(person_ids)))
        wallets = await lock_wallets(connection, {row[5] for row in rows})
        for person_id, tier, state, cooling_until, resident, wallet_id in rows:
            wallet = wallets[wallet_id]
            self.parties[person_id] = Party(
                id=person_id,
                tier=Tier(tier),
                is_active=state == "active" and wallet.state == "active",
                cooling_until=cooling_until,
                resident=resident,
                wallet_id=wallet_id,
                purses=wallet.purses,
            )
            self.account_ids.update(purse.account_id for purse in wallet.purses)

    async def take_programmes(
        self, connection: Connection, shelf: ProgrammeShelf, versions: Mapping[UUID, int]
    ) -> None:
        """Read the programmes with these ids in these versions."""
        self.programmes = await shelf.take(connection, versions)
        self.codes = {self.programmes[one].code: self.programmes[one] for one in versions}

    def held_yen(self, party: Party, batch: Batch, *, programme_id: UUID | None = None) -> int:
        """Return what the person's wallet holds, in all or of one programme, holds included."""
        balances = batch.book.balances
        return sum(
            balances[purse.account_id].balance
            for purse in party.purses
            if programme_id is None or purse.programme_id == programme_id
        )

    def refuse_room(
        self, party: Party, programme: Programme, *, amount_yen: int, batch: Batch
    ) -> Refusal | None:
        """Return why a person cannot take this much more of a programme, or None."""
        if not may_hold(programme.terms.eligibility, resident=party.resident):
            return Refusal("holder_not_eligible", {"programme": programme.code})
        return check_room(
            amount_yen=amount_yen,
            held_yen=self.held_yen(party, batch),
            held_programme_yen=self.held_yen(party, batch, programme_id=programme.id),
            tier=party.limits,
            caps=programme.terms.caps,
        )

    def open_purse(self, party: Party, purse: Purse, batch: Batch) -> Purse:
        """Return the person's purse of this kind, opened under the given id when it is missing."""
        found = find_purse(
            party.purses,
            programme_id=purse.programme_id,
            funding=purse.funding,
            expires_on=purse.expires_on,
        )
        if found is not None:
            return found
        account = purse_account(
            purse.account_id,
            wallet_id=party.wallet_id,
            programme_number=self.programmes[purse.programme_id].number,
        )
        (result,) = batch.book.create_accounts([account])
        if result.code is not AccountCode.CREATED:
            message = f"the ledger refused a purse: {result.code}"
            raise RuntimeError(message)
        party.purses.append(purse)
        self.new_purses.append((party.wallet_id, purse))
        return purse

    async def record_purses(self, connection: Connection) -> None:
        """Write the purses that were opened."""
        await insert_purses(connection, self.new_purses)


def available_of(party: Party, programme: Programme, batch: Batch) -> list[tuple[Purse, int]]:
    """Return the person's purses of a programme, each with what may be taken from it."""
    return [
        (purse, batch.book.available(purse.account_id))
        for purse in party.purses
        if purse.programme_id == programme.id
    ]


def book_chain(transfers: Sequence[Transfer], batch: Batch) -> None:
    """Book transfers as one chain; they fit, so it can only succeed.

    Raises RuntimeError when the ledger refuses it: then a decision was wrong.
    """
    last = len(transfers) - 1
    linked = [
        msgspec.structs.replace(one, flags=one.flags | LINKED) if n < last else one
        for n, one in enumerate(transfers)
    ]
    results = batch.book.create_transfers(linked)
    if any(result.code is not TransferCode.CREATED for result in results):
        message = f"the ledger refused what fits: {[str(result.code) for result in results]}"
        raise RuntimeError(message)


def transfer_of(
    transfer_id: UUID,
    *,
    accounts: tuple[UUID, UUID],
    amount_yen: int,
    code: int,
    wallet_id: UUID,
    number: int,
) -> Transfer:
    """Return a transfer from the first account to the second, of programme ``number``."""
    return Transfer(
        transfer_id,
        *accounts,
        amount_yen,
        LEDGER_JPY,
        code,
        user_data_128=wallet_id,
        user_data_32=number,
    )
