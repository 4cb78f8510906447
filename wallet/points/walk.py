"""Walk: steps that a phone has counted today earn the points that the programme's ladder says.

Steps can be made up, so little is at stake: only today's count, never an earlier day's; one phone
counts for a person on a day; the ladder bounds a day and the rule a month. A later count of the
same day earns the difference. When a budget is used up, walking earns nothing and is still counted.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

import msgspec

from wallet.core.database import Connection
from wallet.core.ids import numbered_id
from wallet.core.outbox import append
from wallet.core.refusals import Refusal
from wallet.ledger.work import Batch
from wallet.ops.rules import ScopeKind, matches
from wallet.points.attend import earn, earned_event, refuse_earning
from wallet.points.give import Refused
from wallet.points.parties import Party, PointsFacts
from wallet.points.rules import Rung, earned_yen
from wallet.programmes.purses import find_versions
from wallet.programmes.queries import ProgrammeShelf
from wallet.programmes.rules import Programme

_FIND_RULES: Final = """
SELECT programme_id, ladder, month_max_yen, first_day, last_day FROM step_rule
WHERE programme_id = ANY($1::uuid[])
"""

_FIND_DAYS: Final = """
SELECT asked.person_id, asked.programme_id, d.day, d.device_id, d.steps, d.rewarded_yen
FROM unnest($1::uuid[], $2::uuid[]) AS asked (person_id, programme_id)
CROSS JOIN LATERAL (
    SELECT * FROM step_day WHERE person_id = asked.person_id
      AND programme_id = asked.programme_id AND day >= $3 AND day <= $4 OFFSET 0
) AS d
"""

# Whose steps count on a day, whatever the programme: one phone.
_FIND_DEVICES: Final = """
SELECT DISTINCT d.person_id, d.device_id FROM unnest($1::uuid[]) AS asked (person_id)
CROSS JOIN LATERAL (
    SELECT * FROM step_day WHERE person_id = asked.person_id OFFSET 0
) AS d
WHERE d.day = $2
"""

_KEEP: Final = """
INSERT INTO step_day (person_id, programme_id, day, device_id, steps, rewarded_yen, updated_at)
SELECT new.*, $7 FROM unnest($1::uuid[], $2::uuid[], $3::date[], $4::uuid[], $5::int[],
                             $6::bigint[]) AS new
ON CONFLICT (person_id, programme_id, day) DO UPDATE
SET steps = EXCLUDED.steps, rewarded_yen = EXCLUDED.rewarded_yen, updated_at = EXCLUDED.updated_at
"""


class Walk(msgspec.Struct, frozen=True, gc=False):
    """A phone tells its holder's steps of a day; ``walk_id`` is made by :func:`align_id`."""

    walk_id: UUID
    person_id: UUID
    device_id: UUID
    programme: str
    day: date
    steps: int
    app_version: str | None = None


class Walked(msgspec.Struct, frozen=True, gc=False):
    """What counts of the day, what it has earned in all, and now; ``earned_yen`` may be 0."""

    programme: str
    day: date
    steps: int
    rewarded_yen: int
    earned_yen: int


class StepRule(msgspec.Struct, frozen=True):
    """What steps earn of a programme."""

    ladder: tuple[Rung, ...]
    month_max_yen: int
    first_day: date
    last_day: date


class StepDay(msgspec.Struct, frozen=True, gc=False):
    """One person's day of one programme."""

    person_id: UUID
    programme_id: UUID
    day: date
    device_id: UUID
    steps: int
    rewarded_yen: int


class WalkFacts(PointsFacts):
    """What a batch of walks needs to know."""

    __slots__ = ("days", "devices", "earned", "rules", "touched")

    def __init__(self, *, now_us: int) -> None:
        super().__init__(now_us=now_us)
        self.rules: dict[UUID, StepRule] = {}
        self.days: dict[tuple[UUID, UUID], dict[date, StepDay]] = {}
        self.devices: dict[UUID, UUID] = {}
        self.touched: dict[tuple[UUID, UUID], StepDay] = {}
        self.earned: list[tuple[UUID, UUID, str, int]] = []


class WalkWork:
    """The kind of work behind :data:`WALK`."""

    def __init__(self) -> None:
        self._shelf = ProgrammeShelf()

    async def gather(
        self, connection: Connection, requests: Sequence[Walk], now_us: int
    ) -> WalkFacts:
        """Lock the wallets, and read the rules and what the people have walked this month."""
        facts = WalkFacts(now_us=now_us)
        await facts.take_parties(connection, {r.person_id for r in requests})
        versions = await find_versions(connection, {r.programme for r in requests})
        await facts.take_programmes(connection, self._shelf, versions)
        for row in await connection.fetch(_FIND_RULES, list(versions)):
            ladder = tuple(msgspec.json.decode(row[1], type=list[Rung]))
            facts.rules[row[0]] = StepRule(ladder, *row[2:])
        pairs = {
            (r.person_id, facts.codes[r.programme].id)
            for r in requests
            if r.programme in facts.codes
        }
        people, programmes = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        first_day = facts.day.replace(day=1)
        for row in await connection.fetch(_FIND_DAYS, people, programmes, first_day, facts.day):
            day = StepDay(*row)
            facts.days.setdefault((day.person_id, day.programme_id), {})[day.day] = day
        facts.devices = dict(await connection.fetch(_FIND_DEVICES, people, facts.day))
        facts.account_ids.update(one.budget_account_id for one in facts.codes.values())
        return facts

    def decide(self, request: Walk, facts: WalkFacts, batch: Batch) -> Walked | Refused:
        """Decide one request against the book."""
        programme = facts.codes.get(request.programme)
        party = facts.parties.get(request.person_id)
        rule = None if programme is None else facts.rules.get(programme.id)
        if programme is None or rule is None:
            return Refused(Refusal("steps_not_counted", {"programme": request.programme}))
        refusal = _refuse(request, party, rule, facts, batch)
        if refusal is not None or party is None:
            return Refused(refusal or Refusal("wallet_unknown"))
        days = facts.days.setdefault((party.id, programme.id), {})
        before = days.get(facts.day)
        steps = max(request.steps, 0 if before is None else before.steps)
        due_yen = _due(rule, days, facts.day, steps=steps)
        if due_yen and refuse_earning(
            party, programme, amount_yen=due_yen, facts=facts, batch=batch
        ):
            due_yen = 0
        rewarded_yen = due_yen + (0 if before is None else before.rewarded_yen)
        day = StepDay(party.id, programme.id, facts.day, request.device_id, steps, rewarded_yen)
        if due_yen:
            _earn(request, party, programme, due_yen, facts, batch)
        days[facts.day] = facts.touched[party.id, programme.id] = day
        facts.devices[party.id] = request.device_id
        return Walked(programme.code, facts.day, steps, rewarded_yen, due_yen)

    async def record(
        self, connection: Connection, facts: WalkFacts, answers: Sequence[Any], batch: Batch
    ) -> None:
        """Write the days."""
        del answers, batch
        await facts.record_purses(connection)
        if facts.touched:
            days = list(facts.touched.values())
            columns = ([getattr(d, name) for d in days] for name in StepDay.__struct_fields__)
            await connection.execute(_KEEP, *columns, facts.now)
        events = [
            earned_event(walk_id, person_id, programme, yen, source="steps")
            for walk_id, person_id, programme, yen in facts.earned
        ]
        await append(connection, events=events, now=facts.now)


WALK: Final = WalkWork()
"""The kind of work that rewards steps; one in a process."""


def _refuse(
    request: Walk, party: Party | None, rule: StepRule, facts: WalkFacts, batch: Batch
) -> Refusal | None:
    if party is None:
        return Refusal("wallet_unknown")
    if batch.stops and matches(
        batch.stops,
        ScopeKind.ISSUE,
        programme=request.programme,
        tier=party.tier,
        app_version=request.app_version,
    ):
        return Refusal("service_stopped")
    return _refuse_count(request, rule, facts) if party.is_active else Refusal("wallet_frozen")


def _refuse_count(request: Walk, rule: StepRule, facts: WalkFacts) -> Refusal | None:
    if request.day != facts.day:
        return Refusal("steps_not_today", {"day": facts.day})
    if not rule.first_day <= facts.day <= rule.last_day:
        return Refusal("steps_not_counted", {"programme": request.programme})
    if facts.devices.get(request.person_id, request.device_id) != request.device_id:
        return Refusal("steps_other_device")
    return None


def _due(rule: StepRule, days: dict[date, StepDay], day: date, *, steps: int) -> int:
    """Return what a day's steps have earned beyond what was granted, within the month's ceiling."""
    granted_yen = days[day].rewarded_yen if day in days else 0
    month_yen = sum(one.rewarded_yen for one in days.values())
    due_yen = earned_yen(rule.ladder, steps=steps) - granted_yen
    return max(0, min(due_yen, rule.month_max_yen - month_yen))


def _earn(
    request: Walk,
    party: Party,
    programme: Programme,
    amount_yen: int,
    facts: WalkFacts,
    batch: Batch,
) -> None:
    earn(
        party,
        programme,
        transfer_id=numbered_id(request.walk_id, 1),
        amount_yen=amount_yen,
        facts=facts,
        batch=batch,
    )
    facts.earned.append((request.walk_id, party.id, programme.code, amount_yen))
