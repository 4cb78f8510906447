"""Results: what people are told, what they may buy for it, and what anybody may check."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from wallet.core.clock import to_datetime
from wallet.core.database import read
from wallet.core.refusals import RefusedError
from wallet.vouchers.apply import Application, Channel
from wallet.vouchers.campaigns import Campaign, find_campaign
from wallet.vouchers.campaigns_rules import RESULTS_OPEN, SELLING
from wallet.vouchers.draw import document_of, find_draw
from wallet.vouchers.draw_due import draw_again, load_entries
from wallet.vouchers.lottery import entry_of, list_text, listed, result_text

APPLICATIONS_SHOWN_MAX: Final = 100

# A ward's applications are its guardian's to see; a proxy pays, and applies for nothing.
_REACHED: Final = """
SELECT id FROM wallet WHERE person_id = :person_id AND state <> 'closed'
UNION ALL
SELECT wallet_id FROM guardianship WHERE guardian_id = :person_id AND until IS NULL
"""

_OFFERS = text(f"""
WITH reached AS ({_REACHED})
SELECT w.application_id, w.round, w.campaign_id, c.code AS campaign, w.frame, a.wallet_id,
       w.units, w.units_bought, w.deadline
FROM application AS a
JOIN win AS w ON w.application_id = a.id
JOIN campaign AS c ON c.id = a.campaign_id
WHERE (a.person_id = :person_id OR a.wallet_id IN (SELECT id FROM reached))
  AND w.state = 'offered' AND w.deadline > :now
  AND c.suspended_at IS NULL AND c.state = ANY (CAST(:selling AS text[]))
ORDER BY w.deadline, w.application_id
""")  # noqa: S608 - only our own words

_MINE = text(f"""
WITH reached AS ({_REACHED})
SELECT a.id, a.campaign_id, a.frame, a.person_id, a.wallet_id, a.channel, a.units_asked, a.state,
       a.reason, a.made_by, a.created_at, a.decided_at
FROM application AS a
WHERE (a.person_id = :person_id OR a.wallet_id IN (SELECT id FROM reached))
  AND a.id < :before
ORDER BY a.id DESC LIMIT :most
""")  # noqa: S608 - as above

_PLACES = text("""
SELECT d.round, d.id AS draw_id, e.units_asked, e.units_won, e.told_at, w.state, w.deadline,
       w.units_bought
FROM draw_entry AS e JOIN draw AS d ON d.id = e.draw_id
LEFT JOIN win AS w ON w.application_id = e.application_id AND w.round = d.round
WHERE e.application_id = :application_id ORDER BY d.round
""")

_LIST = text("""
SELECT id, campaign_id, frame, person_id, wallet_id, channel, units_asked, state, reason, made_by,
       created_at, decided_at
FROM application
WHERE campaign_id = :campaign_id AND id < :before
  AND (CAST(:state AS text) IS NULL OR state = :state)
  AND (NOT :flagged OR state = 'submitted' AND reason IS NOT NULL)
ORDER BY id DESC LIMIT :most
""")

_COUNTS = text("""
SELECT frame, channel, state, count(*) AS applications, sum(units_asked)::bigint AS units
FROM application WHERE campaign_id = :campaign_id GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
""")

_TOLD = text("""
SELECT EXISTS (SELECT FROM draw AS d WHERE d.campaign_id = :campaign_id AND d.round = :round
               AND d.offers_until IS NOT NULL
               AND NOT EXISTS (SELECT FROM draw_entry AS e
                               WHERE e.draw_id = d.id AND e.told_at IS NULL))
""")


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """Units that somebody has won and may still buy before the deadline.

    Without a ``wallet_id`` the vouchers have nowhere to go yet.
    """

    application_id: UUID
    round: int
    campaign_id: UUID
    campaign: str
    frame: str
    wallet_id: UUID | None
    units: int
    units_bought: int
    deadline: datetime


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """An application in one draw: the hash it goes by in the list, and what came of it.

    ``units_won`` is None until it was told. ``offer`` is what became of the win.
    """

    round: int
    entry: bytes
    units_asked: int
    units_won: int | None
    offer: Literal["offered", "bought", "lapsed"] | None
    units_bought: int | None
    deadline: datetime | None


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How many applications of a frame and a channel are in a state, for how many units."""

    frame: str
    channel: Channel
    state: str
    applications: int
    units: int


async def offers_of(connection: AsyncConnection, person_id: UUID, *, now_us: int) -> list[Offer]:
    """Return what a person may buy now for their own wallets and their wards', soonest first."""
    values = {
        "person_id": person_id,
        "now": to_datetime(now_us),
        "selling": [str(state) for state in SELLING],
    }
    rows = (await connection.execute(_OFFERS, values)).mappings()
    return [Offer(**row) for row in rows]


async def applications_of(
    connection: AsyncConnection, person_id: UUID, *, before: UUID | None, limit: int
) -> list[Application]:
    """Return a person's applications and their wards', newest first."""
    values = {
        "person_id": person_id,
        "before": before or UUID(int=2**128 - 1),
        "most": min(limit, APPLICATIONS_SHOWN_MAX + 1),
    }
    return [Application(**row) for row in (await connection.execute(_MINE, values)).mappings()]


async def list_applications(
    connection: AsyncConnection,
    campaign_id: UUID,
    *,
    state: str | None,
    only_flagged: bool,
    before: UUID | None,
    limit: int,
) -> list[Application]:
    """Return a campaign's applications, newest first; flagged ones wait for somebody."""
    values = {
        "campaign_id": campaign_id,
        "state": state,
        "flagged": only_flagged,
        "before": before or UUID(int=2**128 - 1),
        "most": min(limit, APPLICATIONS_SHOWN_MAX + 1),
    }
    return [Application(**row) for row in (await connection.execute(_LIST, values)).mappings()]


async def count_applications(connection: AsyncConnection, campaign_id: UUID) -> list[Count]:
    """Return how many applications there are, by frame, channel and state."""
    rows = (await connection.execute(_COUNTS, {"campaign_id": campaign_id})).mappings()
    return [Count(**row) for row in rows]


async def places_of(connection: AsyncConnection, application_id: UUID) -> list[Place]:
    """Return an application's places in the draws, which answers most complaints."""
    rows = await connection.execute(_PLACES, {"application_id": application_id})
    return [
        Place(
            round=row.round,
            entry=entry_of(application_id, salt=row.draw_id.bytes),
            units_asked=row.units_asked,
            units_won=None if row.told_at is None else row.units_won,
            offer=row.state,
            units_bought=row.units_bought,
            deadline=row.deadline,
        )
        for row in rows
    ]


async def published(engine: AsyncEngine, *, campaign_id: UUID, round_: int) -> dict[str, str]:
    """Return the files by which anybody may check a draw, by name; always the same bytes.

    ``draw.json`` and, as soon as the list is fixed, ``list.csv``; ``result.csv`` once the results
    are everybody's. Raises :class:`RefusedError` ``campaign_unknown``, ``draw_unknown``.
    """
    async with read(engine) as connection:
        campaign = await find_campaign(connection, campaign_id)
        held = await find_draw(connection, campaign_id, round_)
        with_result = await is_told(connection, campaign, round_)
    if held is None:
        raise RefusedError("draw_unknown")
    document = document_of(held, code=campaign.code, with_result=with_result)
    encoded = msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2)
    files = {"draw.json": encoded.decode() + "\n"}
    if held.listed_at is not None:
        entries, _ = await load_entries(engine, held)
        files["list.csv"] = list_text(listed(entries))
    if with_result:
        files["result.csv"] = result_text((await draw_again(engine, held)).outcomes)
    return files


async def is_told(connection: AsyncConnection, campaign: Campaign, round_: int) -> bool:
    """Whether the results of a round are everybody's: all were told, and the first one stands."""
    if campaign.state not in RESULTS_OPEN:
        return False
    values = {"campaign_id": campaign.id, "round": round_}
    return bool((await connection.execute(_TOLD, values)).scalar_one())
