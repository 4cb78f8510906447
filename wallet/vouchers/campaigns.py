"""Campaigns: written down, agreed to by two, and taken from step to step, each with its story."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime, to_microseconds
from wallet.core.ids import new_id
from wallet.core.outbox import tell
from wallet.core.refusals import RefusedError
from wallet.programmes.basics import is_code
from wallet.programmes.terms import Terms
from wallet.vouchers.campaign_tables import campaign, campaign_event
from wallet.vouchers.campaigns_rules import (
    SELLING,
    CampaignTerms,
    Facts,
    State,
    Step,
    check_step,
    due_at,
    problems_of,
    steps_from,
)
from wallet.vouchers.campaigns_sales import close_sales, open_sales
from wallet.vouchers.purchase_stock import OnSale, Sale, open_sale

CLOCK: Final = "clock"
"""The actor of what is done because its day has come."""

CAMPAIGNS_SHOWN_MAX: Final = 100

_OVER: Final = frozenset(list(State)[list(State).index(State.USE_ENDED) :])
_TAKEN: Final = frozenset(State) - _OVER - {State.DRAFT}
"""A frame's units are counted once, so while it is one campaign's it can be no other's."""
_PUBLIC: Final = _TAKEN - {State.MERCHANT_RECRUITING}

_COLUMNS: Final = """
SELECT id, code, state, suspended_at, terms, revision, approved_revision, created_at FROM campaign
"""
_FIND = text(f"{_COLUMNS} WHERE id = :id")
_LOCK = text(f"{_COLUMNS} WHERE id = :id FOR NO KEY UPDATE")
_HOLD = text(f"{_COLUMNS} WHERE id = :id FOR SHARE")
_FIND_BY_CODE = text(f"{_COLUMNS} WHERE code = :code")
_LIST = text(f"""{_COLUMNS}
WHERE state = ANY (CAST(:states AS text[])) AND id < CAST(:before AS uuid)
ORDER BY id DESC LIMIT :most
""")

_FRAMES = text("SELECT code, terms FROM programme WHERE code = ANY (CAST(:codes AS text[]))")

# Whoever takes a frame, or changes its sale, does so one after the other.
_LOCK_FRAMES = text("""
SELECT FROM programme WHERE code = ANY (CAST(:frames AS text[])) ORDER BY code FOR NO KEY UPDATE
""")
_FIND_TAKEN = text("""
SELECT c.code AS campaign, f.code AS frame
FROM campaign AS c, jsonb_array_elements_text(c.terms->'frames') AS f (code)
WHERE c.id IS DISTINCT FROM CAST(:id AS uuid) AND c.state = ANY (CAST(:states AS text[]))
  AND f.code = ANY (CAST(:frames AS text[]))
ORDER BY f.code, c.code LIMIT 1
""")
_FIND_SALE = text("""
SELECT g.code AS programme, g.terms->>'name' AS name,
       CAST(g.terms->'frame'->>'price_yen' AS int) AS price_yen,
       CAST(g.terms->'frame'->>'face_yen' AS int) AS face_yen,
       CAST(g.terms->'frame'->>'sets_per_person' AS int) AS units_per_person,
       s.mode, s.units_total, s.units_reserved, s.units_sold, s.opens_at, s.closes_at
FROM stock AS s JOIN programme AS g ON g.id = s.programme_id WHERE g.code = :programme
""")

_CHANGE = text("""
UPDATE campaign SET terms = CAST(:terms AS jsonb), revision = revision + 1 WHERE id = :id
""")
_APPROVE = text("UPDATE campaign SET approved_revision = :revision WHERE id = :id")
_SUSPEND = text("UPDATE campaign SET suspended_at = :suspended_at WHERE id = :id")
_MOVE = text("UPDATE campaign SET state = :state WHERE id = :id")

_FACTS = text("""
SELECT (SELECT count(*) FROM shop AS s JOIN merchant AS m ON m.id = s.merchant_id
        WHERE m.state = 'active') AS shops,
       EXISTS (SELECT FROM draw WHERE campaign_id = :id AND round = 1) AS committed,
       EXISTS (SELECT FROM draw WHERE campaign_id = :id AND round = 1 AND drawn_at IS NOT NULL)
           AS drawn,
       ARRAY (SELECT d.round FROM draw AS d
              WHERE d.campaign_id = :id AND d.offers_until IS NOT NULL
                AND NOT EXISTS (SELECT FROM draw_entry AS e
                                WHERE e.draw_id = d.id AND e.told_at IS NULL)) AS told,
       (EXISTS (SELECT FROM win WHERE campaign_id = :id AND state = 'offered')
        OR EXISTS (SELECT FROM purchase AS p JOIN win AS w USING (application_id, round)
                   WHERE p.state = 'reserved' AND w.campaign_id = :id)) AS has_offers,
       (SELECT scopes FROM stop_control WHERE id = 1) AS stops
""")

_STORY = text("""
SELECT kind, from_state, to_state, actor, reason, public_text, scheduled_at, created_at
FROM campaign_event WHERE campaign_id = :id ORDER BY seq
""")


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign as it stands."""

    id: UUID
    code: str
    state: State
    suspended_at: datetime | None
    terms: CampaignTerms
    revision: int
    approved_revision: int | None
    created_at: datetime

    @property
    def is_approved(self) -> bool:
        """Whether two people have agreed to the terms as they stand now."""
        return self.approved_revision == self.revision


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a campaign's story."""

    kind: str
    from_state: str | None
    to_state: str | None
    actor: str
    reason: str | None
    public_text: str
    scheduled_at: datetime | None
    created_at: datetime


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What is written into the story: by whom, why, and what anybody may read of it."""

    kind: str
    actor: str
    public_text: str
    reason: str | None = None
    step: Step | None = None
    scheduled_at: datetime | None = None


async def create_campaign(
    connection: AsyncConnection, *, code: str, terms: CampaignTerms, actor: str, now_us: int
) -> Campaign:
    """Write a campaign down as a draft.

    Raises :class:`RefusedError` ``campaign_invalid`` with every problem as a sentence, and
    ``campaign_exists`` when the code is taken.
    """
    await _check_terms(connection, terms, code=code)
    campaign_id = new_id(now_us=now_us)
    if (await connection.execute(_FIND_BY_CODE, {"code": code})).one_or_none() is not None:
        raise RefusedError("campaign_exists")
    await connection.execute(
        campaign.insert().values(
            id=campaign_id,
            code=code,
            state=State.DRAFT,
            terms=msgspec.to_builtins(terms),
            revision=1,
            created_by=actor,
            created_at=to_datetime(now_us),
        )
    )
    told = Told(kind="created", actor=actor, public_text="商品券の募集を準備しています。")
    await note(connection, campaign_id, told, now_us=now_us)
    return await find_campaign(connection, campaign_id)


async def change_campaign(
    connection: AsyncConnection,
    *,
    campaign_id: UUID,
    terms: CampaignTerms,
    actor: str,
    now_us: int,
) -> Campaign:
    """Write a draft anew; whatever was agreed to before is no longer.

    Raises :class:`RefusedError` ``campaign_unknown``, ``campaign_fixed`` outside the draft, and
    ``campaign_invalid``.
    """
    held = await lock_campaign(connection, campaign_id)
    if held.state is not State.DRAFT:
        raise RefusedError("campaign_fixed", state=held.state)
    await _check_terms(connection, terms, code=held.code)
    encoded = msgspec.json.encode(terms).decode()
    await connection.execute(_CHANGE, {"id": campaign_id, "terms": encoded})
    told = Told(kind="changed", actor=actor, public_text="商品券の募集の案を直しました。")
    await note(connection, campaign_id, told, now_us=now_us)
    return await find_campaign(connection, campaign_id)


async def approve_campaign(
    connection: AsyncConnection, *, campaign_id: UUID, revision: int, actor: str, now_us: int
) -> Campaign:
    """Mark the terms of a revision as agreed to by two.

    Raises :class:`RefusedError` ``campaign_unknown``, ``campaign_fixed`` outside the draft,
    ``campaign_changed`` when the terms are no longer those that were seen, and
    ``campaign_frame_taken`` when a frame is another campaign's that is not over.
    """
    held = await lock_campaign(connection, campaign_id)
    if held.state is not State.DRAFT:
        raise RefusedError("campaign_fixed", state=held.state)
    if held.revision != revision:
        raise RefusedError("campaign_changed")
    await _check_frames(connection, held)
    await connection.execute(_APPROVE, {"id": campaign_id, "revision": revision})
    told = Told(kind="approved", actor=actor, public_text="募集の内容が決まりました。")
    await note(connection, campaign_id, told, now_us=now_us)
    return await find_campaign(connection, campaign_id)


async def take_step(
    connection: AsyncConnection,
    *,
    campaign_id: UUID,
    target: State,
    actor: str,
    reason: str | None,
    now_us: int,
) -> Campaign:
    """Take a campaign to the next state.

    Raises :class:`RefusedError` ``campaign_unknown``, ``campaign_suspended``,
    ``campaign_step_unknown`` when no step leads there, what
    :func:`~wallet.vouchers.campaigns_rules.check_step` says, and ``campaign_frame_taken``.
    """
    held = await lock_campaign(connection, campaign_id)
    if held.suspended_at is not None:
        raise RefusedError("campaign_suspended")
    ways = steps_from(held.state, mode=held.terms.mode)
    step = next((one for one in ways if one.target is target), None)
    if step is None:
        raise RefusedError("campaign_step_unknown", state=held.state, target=target)
    facts = await _find_facts(connection, held)
    refusal = check_step(step, held.terms, facts, now_us=now_us)
    if refusal is not None:
        raise RefusedError(refusal.code, **refusal.facts)
    if target in {State.MERCHANT_RECRUITING, State.PUBLISHED}:
        await _check_frames(connection, held)
    await connection.execute(_MOVE, {"id": campaign_id, "state": target})
    if step.sells:
        await _open_sales(connection, held, now_us=now_us)
    told = Told(
        kind="moved",
        actor=actor,
        reason=reason,
        public_text=step.text,
        step=step,
        scheduled_at=due_at(step, held.terms),
    )
    await note(connection, campaign_id, told, now_us=now_us)
    return msgspec.structs.replace(held, state=target)


async def suspend_campaign(
    connection: AsyncConnection, *, campaign_id: UUID, actor: str, reason: str, now_us: int
) -> Campaign:
    """Hold a campaign where it is: nobody applies, nothing is drawn or sold, no day moves it.

    Raises :class:`RefusedError` ``campaign_unknown``, ``campaign_suspended`` when it is.
    """
    held = await lock_campaign(connection, campaign_id)
    if held.suspended_at is not None:
        raise RefusedError("campaign_suspended")
    now = to_datetime(now_us)
    await connection.execute(_SUSPEND, {"id": campaign_id, "suspended_at": now})
    if held.state in SELLING:
        await close_sales(connection, terms=held.terms, now_us=now_us)
    text_ = "この商品券の手続きを一時的に止めています。"
    told = Told(kind="suspended", actor=actor, reason=reason, public_text=text_)
    await note(connection, campaign_id, told, now_us=now_us)
    return msgspec.structs.replace(held, suspended_at=now)


async def resume_campaign(
    connection: AsyncConnection, *, campaign_id: UUID, actor: str, reason: str, now_us: int
) -> Campaign:
    """Let a campaign go on; raises ``campaign_unknown``, ``campaign_not_suspended``."""
    held = await lock_campaign(connection, campaign_id)
    if held.suspended_at is None:
        raise RefusedError("campaign_not_suspended")
    await connection.execute(_SUSPEND, {"id": campaign_id, "suspended_at": None})
    if held.state in SELLING:
        await _open_sales(connection, held, now_us=now_us)
    text_ = "この商品券の手続きを再開しました。"
    told = Told(kind="resumed", actor=actor, reason=reason, public_text=text_)
    await note(connection, campaign_id, told, now_us=now_us)
    return msgspec.structs.replace(held, suspended_at=None)


async def put_on_sale(connection: AsyncConnection, *, programme: str, sale: Sale) -> OnSale:
    """Open or change a sale by hand, of a programme that no public campaign sells.

    Raises :class:`RefusedError` ``sale_of_campaign`` when one does, and what
    :func:`~wallet.vouchers.purchase_stock.open_sale` says.
    """
    taken = await _find_taken(connection, [programme], states=_PUBLIC)
    if taken is not None:
        raise RefusedError("sale_of_campaign", campaign=taken.campaign)
    await open_sale(connection, programme=programme, sale=sale)
    row = (await connection.execute(_FIND_SALE, {"programme": programme})).mappings().one()
    fields = dict(row)
    opens_us = to_microseconds(fields.pop("opens_at"))
    closes_us = to_microseconds(fields.pop("closes_at"))
    return OnSale(**fields, opens_us=opens_us, closes_us=closes_us)


async def find_campaign(connection: AsyncConnection, campaign_id: UUID) -> Campaign:
    """Return a campaign; raises :class:`RefusedError` ``campaign_unknown``."""
    return await _read(connection, _FIND, {"id": campaign_id})


async def find_campaign_by_code(connection: AsyncConnection, code: str) -> Campaign:
    """Return the campaign of a code; raises :class:`RefusedError` ``campaign_unknown``."""
    return await _read(connection, _FIND_BY_CODE, {"code": code})


async def lock_campaign(connection: AsyncConnection, campaign_id: UUID) -> Campaign:
    """Return a campaign that nobody else changes meanwhile, nor applies to."""
    return await _read(connection, _LOCK, {"id": campaign_id})


async def hold_campaign(connection: AsyncConnection, campaign_id: UUID) -> Campaign:
    """Return a campaign that stays as it is until the transaction ends; many may hold it."""
    return await _read(connection, _HOLD, {"id": campaign_id})


async def list_campaigns(
    connection: AsyncConnection,
    *,
    states: Collection[State] = frozenset(State),
    before: UUID | None = None,
    limit: int = CAMPAIGNS_SHOWN_MAX,
) -> list[Campaign]:
    """Return the campaigns in these states, newest first."""
    values = {
        "states": [str(state) for state in states],
        "before": before or UUID(int=2**128 - 1),
        "most": min(limit, CAMPAIGNS_SHOWN_MAX + 1),
    }
    return [_campaign(row) for row in (await connection.execute(_LIST, values)).mappings()]


async def read_story(connection: AsyncConnection, campaign_id: UUID) -> list[Happening]:
    """Return what has happened to a campaign, in its order."""
    rows = (await connection.execute(_STORY, {"id": campaign_id})).mappings()
    return [Happening(**row) for row in rows]


async def find_frames(connection: AsyncConnection, terms: CampaignTerms) -> dict[str, Terms]:
    """Return the terms of a campaign's frames by code; one that is no programme is left out."""
    rows = await connection.execute(_FRAMES, {"codes": list(terms.frames)})
    return {row.code: msgspec.convert(row.terms, Terms) for row in rows}


async def note(connection: AsyncConnection, campaign_id: UUID, told: Told, *, now_us: int) -> None:
    """Write a line of a campaign's story, and tell whoever listens."""
    step = told.step
    await connection.execute(
        campaign_event.insert().values(
            campaign_id=campaign_id,
            kind=told.kind,
            from_state=None if step is None else step.source,
            to_state=None if step is None else step.target,
            actor=told.actor,
            reason=told.reason,
            public_text=told.public_text,
            scheduled_at=told.scheduled_at,
            created_at=to_datetime(now_us),
        )
    )
    body: dict[str, Any] = {"campaign_id": campaign_id}
    if step is not None:
        body["state"] = step.target
    await tell(connection, kind=f"campaign.{told.kind}", body=body, now_us=now_us)


async def _check_terms(connection: AsyncConnection, terms: CampaignTerms, *, code: str) -> None:
    problems = problems_of(terms)
    if not is_code(code):
        problems.append(
            "code: use 1 to 64 small letters, digits and hyphens, unlike any telephone number."
        )
    frames = {} if problems else await find_frames(connection, terms)
    for frame in () if problems else terms.frames:
        if frame not in frames:
            problems.append(f"frames: there is no programme {frame!r}.")
        elif frames[frame].frame is None:
            problems.append(f"frames: the programme {frame!r} is not sold in sets.")
    if problems:
        raise RefusedError("campaign_invalid", problems=problems)


async def _check_frames(connection: AsyncConnection, held: Campaign) -> None:
    taken = await _find_taken(connection, held.terms.frames, states=_TAKEN, besides=held.id)
    if taken is not None:
        raise RefusedError("campaign_frame_taken", frame=taken.frame, campaign=taken.campaign)


async def _find_taken(
    connection: AsyncConnection,
    frames: Collection[str],
    *,
    states: Collection[State],
    besides: UUID | None = None,
) -> Any:  # noqa: ANN401 - a row of the query
    """Return a campaign in these states that has one of the frames; no other gets one meanwhile."""
    values = {"frames": list(frames)}
    await connection.execute(_LOCK_FRAMES, values)
    values_ = {**values, "id": besides, "states": [str(state) for state in states]}
    return (await connection.execute(_FIND_TAKEN, values_)).one_or_none()


async def _open_sales(connection: AsyncConnection, held: Campaign, *, now_us: int) -> None:
    await open_sales(
        connection,
        campaign_id=held.id,
        terms=held.terms,
        frames=await find_frames(connection, held.terms),
        now_us=now_us,
    )


async def _find_facts(connection: AsyncConnection, held: Campaign) -> Facts:
    row = (await connection.execute(_FACTS, {"id": held.id})).one()
    return Facts(
        approved=held.is_approved,
        shops=row.shops,
        committed=row.committed,
        drawn=row.drawn,
        told=frozenset(row.told),
        has_offers=row.has_offers,
        stops=frozenset(row.stops),
    )


async def _read(connection: AsyncConnection, statement: Any, values: dict[str, Any]) -> Campaign:  # noqa: ANN401 - a statement
    row = (await connection.execute(statement, values)).mappings().one_or_none()
    if row is None:
        raise RefusedError("campaign_unknown")
    return _campaign(row)


def _campaign(row: Any) -> Campaign:  # noqa: ANN401 - a row of the queries above
    terms = msgspec.convert(row["terms"], CampaignTerms)
    return Campaign(**{**row, "state": State(row["state"]), "terms": terms})
