"""What the worker does for campaigns: takes due steps, checks, fixes lists, draws, and tells.

Everything is done in bounded portions, each a transaction of its own, and found again by what is
already written, so any number of workers may do it and any of them may die.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import Clock, japanese_day, to_datetime, to_microseconds
from wallet.core.database import read, write
from wallet.core.refusals import RefusedError
from wallet.vouchers.campaigns import (
    CLOCK,
    Campaign,
    Told,
    find_campaign,
    find_frames,
    hold_campaign,
    list_campaigns,
    note,
    take_step,
)
from wallet.vouchers.campaigns_rules import (
    SECOND,
    SELLING,
    State,
    due_at,
    offers_until,
    results_at,
    steps_from,
)
from wallet.vouchers.check import check_some
from wallet.vouchers.draw import Draw, list_draws
from wallet.vouchers.lottery import (
    Entry,
    Outcome,
    draw_lots,
    entry_of,
    hash_of,
    key_of,
    list_text,
    listed,
    result_text,
)
from wallet.vouchers.purchase_stock import count_booklets, lock_frames

logger = logging.getLogger(__name__)

PORTIONS_PER_CAMPAIGN: Final = 50
"""So that one campaign's hundred thousands do not keep the worker from everything else."""

ENTRIES_PER_PORTION: Final = 5_000
ENTRIES_PER_READ: Final = 20_000

_BUSY: Final = frozenset(State) - {
    State.DRAFT,
    State.MERCHANT_RECRUITING,
    State.USE_ENDED,
    State.CLEARING,
    State.FINAL_CLEARING,
    State.UNUSED_WRITTEN_OFF,
    State.REPORTED,
    State.ARCHIVED,
}

# Whoever fills a list or closes it holds its draw: nothing else tells "none is left" from "another
# worker has just taken the same portion".
_HOLD_LIST = text("SELECT listed_at FROM draw WHERE id = :id FOR NO KEY UPDATE")
_LAST_ENTRY = text("""
SELECT application_id FROM draw_entry WHERE draw_id = :draw_id
ORDER BY application_id DESC LIMIT 1
""")
_LIST_FIRST = text("""
INSERT INTO draw_entry (draw_id, application_id, frame, units_asked)
SELECT :draw_id, a.id, a.frame, a.units_asked FROM application AS a
WHERE a.campaign_id = :campaign_id AND a.state = 'accepted' AND a.id > :after
ORDER BY a.id LIMIT :most
ON CONFLICT DO NOTHING
""")
# Whoever let the first round's units lapse is not asked a second time.
_LIST_SECOND = text("""
INSERT INTO draw_entry (draw_id, application_id, frame, units_asked)
SELECT :draw_id, e.application_id, e.frame, e.units_asked - e.units_won
FROM draw AS d JOIN draw_entry AS e ON e.draw_id = d.id
WHERE d.campaign_id = :campaign_id AND d.round = 1 AND e.units_won < e.units_asked
  AND e.application_id > :after
  AND NOT EXISTS (SELECT FROM win AS w
                  WHERE w.application_id = e.application_id AND w.state = 'lapsed')
ORDER BY e.application_id LIMIT :most
ON CONFLICT DO NOTHING
""")
_ENTRIES = text("""
SELECT application_id, frame, units_asked FROM draw_entry
WHERE draw_id = :draw_id AND application_id > :after ORDER BY application_id LIMIT :most
""")
# What was sold by any way, or is being paid for, is there no more.
_GONE = text("""
SELECT g.code AS frame, greatest(
           (SELECT coalesce(sum(CASE w.state WHEN 'bought' THEN w.units ELSE w.units_bought END), 0)
            FROM win AS w WHERE w.campaign_id = :campaign_id AND w.frame = g.code),
           coalesce(s.units_reserved + s.units_sold, 0))::bigint AS units
FROM programme AS g LEFT JOIN stock AS s ON s.programme_id = g.id
WHERE g.code = ANY (CAST(:frames AS text[]))
""")
_LISTED = text("""
UPDATE draw SET list_hash = :list_hash, listed_at = :now, units = CAST(:units AS jsonb)
WHERE id = :id AND listed_at IS NULL
""")
_WON = text("""
UPDATE draw_entry AS e SET units_won = new.units
FROM unnest(CAST(:ids AS uuid[]), CAST(:units AS integer[])) AS new (application_id, units)
WHERE e.draw_id = :draw_id AND e.application_id = new.application_id AND e.units_won IS NULL
""")
_DRAWN = text("""
UPDATE draw SET result_hash = :result_hash, drawn_at = :now WHERE id = :id AND drawn_at IS NULL
""")

_OFFER = text("""
UPDATE draw SET offers_until = :offers_until WHERE id = :id AND offers_until IS NULL
""")
_UNTOLD = text("""
SELECT application_id FROM draw_entry WHERE draw_id = :draw_id AND told_at IS NULL
ORDER BY application_id LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
""")
_TELL_ENTRIES = text("""
UPDATE draw_entry SET told_at = :now
WHERE draw_id = :draw_id AND application_id = ANY (CAST(:ids AS uuid[]))
""")
# Who has won in the first round has won, whatever the second one brings.
_TELL_APPLICATIONS = text("""
UPDATE application AS a
SET state = CASE WHEN e.units_won > 0 OR a.state = 'won' THEN 'won' ELSE 'lost' END,
    decided_at = :now
FROM draw_entry AS e
WHERE e.draw_id = :draw_id AND e.application_id = a.id AND a.id = ANY (CAST(:ids AS uuid[]))
""")
_OFFER_WINS = text("""
INSERT INTO win (application_id, round, campaign_id, frame, units, state, deadline, created_at)
SELECT e.application_id, d.round, d.campaign_id, e.frame, e.units_won, 'offered', d.offers_until,
       :now
FROM draw_entry AS e JOIN draw AS d ON d.id = e.draw_id
WHERE e.draw_id = :draw_id AND e.application_id = ANY (CAST(:ids AS uuid[])) AND e.units_won > 0
ON CONFLICT DO NOTHING
""")
# An offer that is being paid for waits for the purchase to end, one way or the other.
_LAPSE = text("""
UPDATE win AS w SET state = 'lapsed'
FROM (SELECT application_id, round FROM win AS o
      WHERE o.campaign_id = :campaign_id AND o.state = 'offered' AND o.deadline <= :now
        AND NOT EXISTS (SELECT FROM purchase AS p
                        WHERE p.application_id = o.application_id AND p.round = o.round
                          AND p.state = 'reserved')
      ORDER BY application_id, round LIMIT :most FOR NO KEY UPDATE SKIP LOCKED) AS due
WHERE w.application_id = due.application_id AND w.round = due.round
RETURNING w.application_id
""")
_TELL_LAPSED = text("""
INSERT INTO outbox (event_id, kind, body, created_at)
SELECT uuidv7(), 'application.lapsed',
       jsonb_build_object('application_id', one.id, 'campaign_id', CAST(:campaign_id AS uuid)),
       :now
FROM unnest(CAST(:ids AS uuid[])) AS one (id)
""")
_TELL_OUTBOX = text("""
INSERT INTO outbox (event_id, kind, body, created_at)
SELECT uuidv7(), CASE WHEN e.units_won > 0 THEN 'application.won' ELSE 'application.lost' END,
       jsonb_build_object('application_id', e.application_id, 'campaign_id', d.campaign_id,
                          'round', d.round, 'units', e.units_won),
       :now
FROM draw_entry AS e JOIN draw AS d ON d.id = e.draw_id
WHERE e.draw_id = :draw_id AND e.application_id = ANY (CAST(:ids AS uuid[]))
ORDER BY e.application_id
""")


class BrokenListError(Exception):
    """The entries of a draw are not those whose hash was published; nobody may draw from them."""


class Drawn(msgspec.Struct, frozen=True):
    """The lots of a draw: the ids behind the outcomes, the outcomes in the order of the list."""

    outcomes: list[Outcome]
    applications: dict[bytes, UUID]


async def run_due(engine: AsyncEngine, *, clock: Clock) -> int:
    """Do what is due for every campaign, and return how many portions were done.

    None is left when it returns 0; a campaign that fails is logged and keeps no other waiting.
    """
    async with read(engine) as connection:
        campaigns = await list_campaigns(connection, states=_BUSY)
    done = 0
    for campaign in campaigns:
        if campaign.suspended_at is not None:
            continue
        try:
            done += await _advance(engine, campaign.id, clock=clock)
        except RefusedError as error:  # Suspended or moved on meanwhile; the next round sees it.
            logger.info("campaign %s waits: %s", campaign.code, error)
        except BrokenListError:
            logger.exception("campaign %s is not drawn; its list was changed", campaign.code)
    return done


async def _advance(engine: AsyncEngine, campaign_id: UUID, *, clock: Clock) -> int:
    done = 0
    while done < PORTIONS_PER_CAMPAIGN:
        portion = await _do_one(engine, campaign_id, now_us=clock())
        if not portion:
            break
        done += portion
    return done


async def _do_one(engine: AsyncEngine, campaign_id: UUID, *, now_us: int) -> int:
    """Do the first thing that is due for a campaign; return 0 when nothing is."""
    async with read(engine) as connection:
        campaign = await find_campaign(connection, campaign_id)
        draws = await list_draws(connection, campaign_id)
    if campaign.suspended_at is not None:
        return 0
    if campaign.state in SELLING and await _lapse(engine, campaign, now_us):
        return 1
    if await _take_due_step(engine, campaign, now_us=now_us):
        return 1
    round_ = _ROUND_OF.get(campaign.state)
    if round_ is None:
        return 0
    held = next((one for one in draws if one.round == round_), None)
    for work in (_check, _list, _draw, _tell):
        if done := await work(engine, campaign, held, now_us):
            return done
    return 0


_ROUND_OF: Final = {State.CHECKING: 1, State.DRAWN: 1, State.LAPSED_UNITS: SECOND}


async def _take_due_step(engine: AsyncEngine, campaign: Campaign, *, now_us: int) -> bool:
    """Take the step whose day has come; one that something else still holds up is left."""
    for step in steps_from(campaign.state, mode=campaign.terms.mode):
        planned = due_at(step, campaign.terms)
        if not step.by_clock or (planned is not None and to_microseconds(planned) > now_us):
            continue
        work = partial(
            take_step,
            campaign_id=campaign.id,
            target=step.target,
            actor=CLOCK,
            reason=None,
            now_us=now_us,
        )
        try:
            await write(engine, work)
        except RefusedError as error:
            logger.debug("campaign %s stays: %s", campaign.code, error)
        else:
            return True
    return False


async def _check(engine: AsyncEngine, campaign: Campaign, held: Draw | None, now_us: int) -> int:
    if campaign.state is not State.CHECKING or (held is not None and held.list_asked_at):
        return 0

    async def work(connection: AsyncConnection) -> int:
        current = await _hold_same(connection, campaign)
        return await check_some(connection, campaign=current, now_us=now_us)

    return 1 if await write(engine, work) else 0


async def _list(engine: AsyncEngine, campaign: Campaign, held: Draw | None, now_us: int) -> int:
    """Take the next portion into the list, or close it when none is left."""
    if held is None or held.list_asked_at is None or held.listed_at is not None:
        return 0
    if to_microseconds(held.public_value_at) <= now_us:
        logger.error("campaign %s: the list is late; name a later value", campaign.code)
        return 0
    statement = _LIST_FIRST if held.round == 1 else _LIST_SECOND

    async def fill(connection: AsyncConnection) -> int:
        await _hold_same(connection, campaign)
        if await _is_listed(connection, held):
            return 0
        last = (await connection.execute(_LAST_ENTRY, {"draw_id": held.id})).scalar_one_or_none()
        values = {
            "draw_id": held.id,
            "campaign_id": campaign.id,
            "after": last or UUID(int=0),
            "most": ENTRIES_PER_PORTION,
        }
        return (await connection.execute(statement, values)).rowcount

    if await write(engine, fill):
        return 1
    entries, _ = await load_entries(engine, held)
    list_hash = await asyncio.to_thread(lambda: hash_of(list_text(listed(entries))))

    async def close(connection: AsyncConnection) -> None:
        current = await _hold_same(connection, campaign)
        if await _is_listed(connection, held):
            return
        units = await _units_of(connection, current)
        values = {"id": held.id, "list_hash": list_hash, "now": to_datetime(now_us)}
        units_text = msgspec.json.encode(units).decode()
        if (await connection.execute(_LISTED, {**values, "units": units_text})).rowcount:
            said = f"{held.round}回目の抽選の名簿のハッシュ値は{list_hash.hex()}です。"
            told = Told(kind="listed", actor=CLOCK, public_text=said)
            await note(connection, campaign.id, told, now_us=now_us)

    await write(engine, close)
    return 1


async def _is_listed(connection: AsyncConnection, held: Draw) -> bool:
    """Whether the list is closed; nobody else fills or closes it until the transaction ends."""
    listed_at = (await connection.execute(_HOLD_LIST, {"id": held.id})).scalar_one()
    return listed_at is not None


async def _draw(engine: AsyncEngine, campaign: Campaign, held: Draw | None, now_us: int) -> int:
    """Draw the lots and write what everybody won; nobody is told yet."""
    if held is None or held.revealed_at is None or held.drawn_at is not None:
        return 0
    drawn = await draw_again(engine, held)
    portions = [
        drawn.outcomes[start : start + ENTRIES_PER_PORTION]
        for start in range(0, len(drawn.outcomes), ENTRIES_PER_PORTION)
    ]
    for portion in portions:
        await write(engine, partial(_write_outcomes, held=held, drawn=drawn, portion=portion))
    result_hash = await asyncio.to_thread(lambda: hash_of(result_text(drawn.outcomes)))

    async def close(connection: AsyncConnection) -> None:
        await _hold_same(connection, campaign)
        values = {"id": held.id, "result_hash": result_hash, "now": to_datetime(now_us)}
        if (await connection.execute(_DRAWN, values)).rowcount:
            told = Told(
                kind="drawn", actor=CLOCK, public_text=f"{held.round}回目の抽選をしました。"
            )
            await note(connection, campaign.id, told, now_us=now_us)

    await write(engine, close)
    return 1 + len(portions)


async def _tell(engine: AsyncEngine, campaign: Campaign, held: Draw | None, now_us: int) -> int:
    """Tell the next portion what became of them, and let the winners buy until the deadline."""
    if held is None or held.drawn_at is None:
        return 0
    planned = results_at(campaign.terms)
    if campaign.state is State.CHECKING or (planned and to_microseconds(planned) > now_us):
        return 0

    async def work(connection: AsyncConnection) -> bool:
        current = await _hold_same(connection, campaign)
        now = to_datetime(now_us)
        values = {"draw_id": held.id, "now": now}
        until = offers_until(current.terms, told_on=japanese_day(now_us))
        opened = await connection.execute(_OFFER, {"id": held.id, "offers_until": until})
        found = await connection.execute(_UNTOLD, {**values, "most": ENTRIES_PER_PORTION})
        ids = list(found.scalars())
        for statement in (_TELL_ENTRIES, _TELL_APPLICATIONS, _OFFER_WINS, _TELL_OUTBOX):
            if ids:
                await connection.execute(statement, {**values, "ids": ids})
        return bool(ids) or opened.rowcount > 0

    return 1 if await write(engine, work) else 0


async def _lapse(engine: AsyncEngine, campaign: Campaign, now_us: int) -> int:
    """Let lapse what was not bought in time; the units are there for the second round."""

    async def work(connection: AsyncConnection) -> int:
        await _hold_same(connection, campaign)
        values = {"campaign_id": campaign.id, "now": to_datetime(now_us)}
        due = await connection.execute(_LAPSE, {**values, "most": ENTRIES_PER_PORTION})
        ids = list(due.scalars())
        if ids:
            await connection.execute(_TELL_LAPSED, {**values, "ids": ids})
        return len(ids)

    return await write(engine, work)


async def load_entries(engine: AsyncEngine, held: Draw) -> tuple[list[Entry], dict[bytes, UUID]]:
    """Return the entries of a draw, and whose each one is."""
    entries: list[Entry] = []
    applications: dict[bytes, UUID] = {}
    after = UUID(int=0)
    async with read(engine) as connection:
        while True:
            values = {"draw_id": held.id, "after": after, "most": ENTRIES_PER_READ}
            rows = (await connection.execute(_ENTRIES, values)).all()
            if not rows:
                return entries, applications
            for application_id, frame, units_asked in rows:
                entry = entry_of(application_id, salt=held.id.bytes)
                entries.append(Entry(frame, entry, units_asked))
                applications[entry] = application_id
            after = rows[-1].application_id


async def draw_again(engine: AsyncEngine, held: Draw) -> Drawn:
    """Draw the lots of a revealed draw from what is stored; always the same.

    Raises :class:`BrokenListError` when the entries are not those that were listed.
    """
    entries, applications = await load_entries(engine, held)
    return Drawn(await asyncio.to_thread(_outcomes, held, entries), applications)


def _outcomes(held: Draw, entries: Sequence[Entry]) -> list[Outcome]:
    seed, list_hash, value = held.seed, held.list_hash, held.public_value
    if seed is None or list_hash is None or value is None or held.units is None:
        message = f"draw {held.id} has not been revealed"
        raise RuntimeError(message)
    if hash_of(list_text(listed(entries))) != list_hash:
        message = f"the entries of draw {held.id} are not those that were listed"
        raise BrokenListError(message)
    key = key_of(seed=seed, list_hash=list_hash, public_value=value)
    return draw_lots(entries, units=held.units, key=key)


async def _write_outcomes(
    connection: AsyncConnection, *, held: Draw, drawn: Drawn, portion: Sequence[Outcome]
) -> None:
    values = {
        "draw_id": held.id,
        "ids": [drawn.applications[one.entry.entry] for one in portion],
        "units": [one.units_won for one in portion],
    }
    await connection.execute(_WON, values)


async def _units_of(connection: AsyncConnection, campaign: Campaign) -> dict[str, int]:
    """Return how many units each frame still has: not on paper, nor bought in the first round."""
    frames = await find_frames(connection, campaign.terms)
    units = {code: terms.frame.sets_total for code, terms in frames.items() if terms.frame}
    # Until the lots are drawn and sold, what is in the list is no longer there to be printed.
    await lock_frames(connection, units)
    for code, booklets in (await count_booklets(connection, units)).items():
        units[code] = max(0, units[code] - booklets)
    values = {"campaign_id": campaign.id, "frames": list(units)}
    for row in await connection.execute(_GONE, values):
        units[row.frame] = max(0, units[row.frame] - row.units)
    return units


async def _hold_same(connection: AsyncConnection, campaign: Campaign) -> Campaign:
    """Return the campaign, kept as it is; raises when it has moved on or is suspended."""
    held = await hold_campaign(connection, campaign.id)
    if held.suspended_at is not None or held.state is not campaign.state:
        raise RefusedError("campaign_suspended")
    return held
