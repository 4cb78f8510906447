"""Attend: who was at a civic event gets its points, once for each person, event and day.

The code that was shown there is good on its day and for one participant, so one that was
photographed and passed on is worth nothing more. What is granted comes from the programme's budget,
which is locked with the event in the batch: neither is ever exceeded by a yen.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.database import Connection
from wallet.core.ids import numbered_id
from wallet.core.outbox import Event, append
from wallet.core.refusals import Refusal
from wallet.ledger.chart import TRANSFER_BONUS
from wallet.ledger.work import Batch
from wallet.ops.rules import ScopeKind, matches
from wallet.points.bonus_due import Due, has_bonus, insert_due
from wallet.points.codes import EventCode
from wallet.points.give import Refused
from wallet.points.parties import Party, PointsFacts, book_chain, transfer_of
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import SCHEDULED, Funding, Programme, Purse
from wallet.programmes.terms import expires_on_of

EARNED: Final = "points.earned"

_LOCK_EVENTS: Final = """
SELECT e.id, e.programme_id, e.name, e.amount_yen, e.first_day, e.last_day, e.grants_max, e.grants,
       e.state
FROM civic_event AS e WHERE e.id = ANY($1::uuid[]) ORDER BY e.id FOR NO KEY UPDATE
"""

_VERSIONS: Final = "SELECT id, version FROM programme WHERE id = ANY($1::uuid[])"

# Of the person on that day, and of whoever has shown the same code.
_FIND: Final = """
SELECT a.id, a.event_id, a.person_id, a.day, a.nonce, a.wallet_id, a.amount_yen
FROM unnest($1::uuid[], $2::uuid[], $3::date[], $4::bytea[])
     AS asked (event_id, person_id, day, nonce)
CROSS JOIN LATERAL (
    SELECT * FROM attendance
    WHERE event_id = asked.event_id AND person_id = asked.person_id AND day = asked.day
    UNION ALL
    SELECT * FROM attendance WHERE event_id = asked.event_id AND nonce = asked.nonce
    OFFSET 0
) AS a
"""

_INSERT: Final = """
INSERT INTO attendance (id, event_id, person_id, day, nonce, wallet_id, amount_yen, created_at)
SELECT new.*, $8 FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::date[], $5::bytea[],
                             $6::uuid[], $7::bigint[]) AS new
"""

_COUNT: Final = """
UPDATE civic_event AS e SET grants = new.grants
FROM unnest($1::uuid[], $2::int[]) AS new (id, grants) WHERE e.id = ANY (ARRAY[new.id])
"""

_encode: Final = msgspec.json.Encoder().encode


class Attend(msgspec.Struct, frozen=True, gc=False):
    """A person has read a genuine code at an event; ``attendance_id`` is made by ``align_id``."""

    attendance_id: UUID
    person_id: UUID
    code: EventCode
    app_version: str | None = None


class Attendance(msgspec.Struct, frozen=True, gc=False):
    """Somebody was there, and what it has brought them."""

    id: UUID
    event_id: UUID
    person_id: UUID
    day: date
    nonce: bytes
    wallet_id: UUID
    amount_yen: int


class Attended(msgspec.Struct, frozen=True, gc=False):
    """The points are there; ``replayed`` when they were before. Good until ``expires_on``."""

    attendance: Attendance
    event: str
    programme: str
    expires_on: date
    replayed: bool


class CivicEvent(msgspec.Struct, gc=False):
    """An event as it stands; ``grants`` is counted on as a batch decides."""

    id: UUID
    programme_id: UUID
    name: str
    amount_yen: int
    first_day: date
    last_day: date
    grants_max: int | None
    grants: int
    state: str


class AttendFacts(PointsFacts):
    """What a batch of attendances needs to know."""

    __slots__ = ("bonuses", "by_nonce", "by_person", "events", "new")

    def __init__(self, *, now_us: int) -> None:
        super().__init__(now_us=now_us)
        self.events: dict[UUID, CivicEvent] = {}
        self.by_person: dict[tuple[UUID, UUID, date], Attendance] = {}
        self.by_nonce: dict[tuple[UUID, bytes], Attendance] = {}
        self.new: list[tuple[Attendance, str]] = []
        self.bonuses: list[Due] = []

    def remember(self, one: Attendance) -> None:
        """Let whoever comes later in the batch find it."""
        self.by_person[one.event_id, one.person_id, one.day] = one
        self.by_nonce[one.event_id, one.nonce] = one


class AttendWork:
    """The kind of work behind :data:`ATTEND`."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self, connection: Connection, requests: Sequence[Attend], now_us: int
    ) -> AttendFacts:
        """Lock the wallets and then the events, and see who was there before."""
        facts = AttendFacts(now_us=now_us)
        await facts.take_parties(connection, {r.person_id for r in requests})
        rows = await connection.fetch(_LOCK_EVENTS, list({r.code.event_id for r in requests}))
        facts.events = {row[0]: CivicEvent(*row) for row in rows}
        for row in await connection.fetch(
            _FIND,
            [r.code.event_id for r in requests],
            [r.person_id for r in requests],
            [r.code.day for r in requests],
            [r.code.nonce for r in requests],
        ):
            facts.remember(Attendance(*row))
        programme_ids = {event.programme_id for event in facts.events.values()}
        versions = dict(await connection.fetch(_VERSIONS, list(programme_ids)))
        await facts.take_programmes(connection, self._shelf, versions)
        facts.account_ids.update(one.budget_account_id for one in facts.codes.values())
        return facts

    def decide(self, request: Attend, facts: AttendFacts, batch: Batch) -> Attended | Refused:
        """Decide one request against the book."""
        code = request.code
        event = facts.events.get(code.event_id)
        if event is None:
            return Refused(Refusal("event_code_unknown"))
        programme = facts.programmes[event.programme_id]
        found = facts.by_person.get((event.id, request.person_id, code.day))
        if found is not None:
            return _again(found, event, programme, code)
        party = facts.parties.get(request.person_id)
        refusal = _refuse(request, party, event, facts, batch)
        if refusal is not None or party is None:
            return Refused(refusal or Refusal("wallet_unknown"))
        attendance = Attendance(
            request.attendance_id,
            event.id,
            party.id,
            code.day,
            code.nonce,
            party.wallet_id,
            event.amount_yen,
        )
        expires_on = earn(
            party,
            programme,
            transfer_id=numbered_id(attendance.id, 1),
            amount_yen=event.amount_yen,
            facts=facts,
            batch=batch,
        )
        event.grants += 1
        facts.remember(attendance)
        facts.new.append((attendance, programme.code))
        if has_bonus(programme, "civic"):
            facts.bonuses.append(Due(programme.id, "civic", party.wallet_id, 0))
        return Attended(attendance, event.name, programme.code, expires_on, replayed=False)

    async def record(
        self, connection: Connection, facts: AttendFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write who was there, and how many there were."""
        del answers
        if not facts.new:
            return
        await facts.record_purses(connection)
        await insert_due(connection, facts.bonuses, now=facts.now, now_us=batch.now_us)
        new = [one for one, _ in facts.new]
        columns = ([getattr(a, name) for a in new] for name in Attendance.__struct_fields__)
        await connection.execute(_INSERT, *columns, facts.now)
        counted = {one.event_id for one in new}
        await connection.execute(
            _COUNT, list(counted), [facts.events[one].grants for one in counted]
        )
        events = [
            earned_event(one.id, one.person_id, programme, one.amount_yen, source="event")
            for one, programme in facts.new
        ]
        await append(connection, events=events, now=facts.now)


ATTEND: Final = AttendWork()
"""The kind of work that rewards participation; one in a process."""


def refuse_earning(
    party: Party, programme: Programme, *, amount_yen: int, facts: PointsFacts, batch: Batch
) -> Refusal | None:
    """Return why somebody cannot be granted this now: the wallet, its ceiling, the budget last."""
    if not party.is_active:
        return Refusal("wallet_frozen")
    if programme.state == SCHEDULED:
        return Refusal("programme_not_live", {"programme": programme.code})
    if facts.day > expires_on_of(programme.terms, facts.day):
        return Refusal("points_over", {"last_day": programme.spending.last_day})
    refusal = facts.refuse_room(party, programme, amount_yen=amount_yen, batch=batch)
    if refusal is not None:
        return refusal
    if amount_yen > batch.book.available(programme.budget_account_id):
        return Refusal("points_exhausted")
    return None


def earn(
    party: Party,
    programme: Programme,
    *,
    transfer_id: UUID,
    amount_yen: int,
    facts: PointsFacts,
    batch: Batch,
) -> date:
    """Grant free money out of the programme's budget, and return its last day."""
    expires_on = expires_on_of(programme.terms, facts.day)
    wanted = Purse(transfer_id, programme.id, Funding.FREE, expires_on)
    purse = facts.open_purse(party, wanted, batch)
    granted = transfer_of(
        transfer_id,
        accounts=(programme.budget_account_id, purse.account_id),
        amount_yen=amount_yen,
        code=TRANSFER_BONUS,
        wallet_id=party.wallet_id,
        number=programme.number,
    )
    book_chain([granted], batch)
    return expires_on


def earned_event(
    event_id: UUID, person_id: UUID, programme: str, amount_yen: int, *, source: str
) -> Event:
    """Return what others hear of points that were earned."""
    body = {
        "person_id": person_id,
        "programme": programme,
        "amount_yen": amount_yen,
        "source": source,
    }
    return Event(event_id, EARNED, _encode(body).decode())


def _again(
    found: Attendance, event: CivicEvent, programme: Programme, code: EventCode
) -> Attended | Refused:
    """Answer somebody who was there before: by the same code it is a repeat."""
    if found.nonce != code.nonce:
        return Refused(Refusal("event_attended", {"day": found.day}))
    expires_on = expires_on_of(programme.terms, found.day)
    return Attended(found, event.name, programme.code, expires_on, replayed=True)


def _refuse(
    request: Attend, party: Party | None, event: CivicEvent, facts: AttendFacts, batch: Batch
) -> Refusal | None:
    if party is None:
        return Refusal("wallet_unknown")
    programme = facts.programmes[event.programme_id]
    if batch.stops and matches(
        batch.stops,
        ScopeKind.ISSUE,
        programme=programme.code,
        tier=party.tier,
        app_version=request.app_version,
    ):
        return Refusal("service_stopped")
    if (event.id, request.code.nonce) in facts.by_nonce:
        return Refusal("event_code_used")
    refusal = _refuse_day(request, event, facts)
    if refusal is not None:
        return refusal
    return refuse_earning(party, programme, amount_yen=event.amount_yen, facts=facts, batch=batch)


def _refuse_day(request: Attend, event: CivicEvent, facts: AttendFacts) -> Refusal | None:
    if request.code.day != facts.day:
        return Refusal("event_code_not_today", {"day": request.code.day})
    if event.state != "open" or not event.first_day <= facts.day <= event.last_day:
        return Refusal("event_closed")
    if event.grants_max is not None and event.grants >= event.grants_max:
        return Refusal("event_full")
    return None
