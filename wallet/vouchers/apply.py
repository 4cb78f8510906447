"""Applications: one for each person and frame, by the app, on paper or at the counter alike.

What was asked for never changes; only a paper may be given a wallet later. While applications are
open one may be withdrawn and another sent in. After that nobody comes and nobody goes, and only
what becomes of it is written.
"""

from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime
from wallet.core.ids import new_id
from wallet.core.outbox import tell
from wallet.core.refusals import RefusedError
from wallet.core.sealing import derived_key
from wallet.vouchers.apply_rules import (
    UNCONFIRMED,
    ApplicantFacts,
    SoftIdentity,
    applicant_key,
    judge,
    soft_key_of,
)
from wallet.vouchers.campaign_tables import application
from wallet.vouchers.campaigns import Campaign, find_frames, hold_campaign
from wallet.vouchers.campaigns_rules import State, age_year

Channel = Literal["app", "paper", "counter"]
ApplicationState = Literal["submitted", "accepted", "rejected", "won", "lost", "withdrawn"]

_COLUMNS: Final = """
SELECT id, campaign_id, frame, person_id, wallet_id, channel, units_asked, state, reason, made_by,
       created_at, decided_at
FROM application
"""
_FIND = text(f"{_COLUMNS} WHERE id = :id")
_LOCK = text(f"{_COLUMNS} WHERE id = :id FOR NO KEY UPDATE")
_FIND_TWIN = text(f"""{_COLUMNS}
WHERE campaign_id = :campaign_id AND frame = :frame AND applicant_key = :applicant_key
  AND state <> 'withdrawn'
""")

# A paper that went to another wallet of theirs counts as well.
_HAS_OTHER = text("""
SELECT EXISTS (SELECT FROM application AS a
               WHERE a.campaign_id = :campaign_id AND a.frame = :frame AND a.id <> :id
                 AND a.state NOT IN ('withdrawn', 'rejected')
                 AND (a.person_id = :person_id OR a.wallet_id = ANY (
                     ARRAY (SELECT w.id FROM wallet AS w WHERE w.person_id = :person_id))))
""")
_LOCK_PERSON = text("SELECT FROM person WHERE id = :person_id FOR NO KEY UPDATE")

_FIND_WALLET = text("SELECT person_id, state FROM wallet WHERE id = :wallet_id")

# Applications of one person are taken one after the other, so that their units can be counted.
_FIND_FACTS = text("""
SELECT p.id, p.resident, f.birth_year, f.children, f.soft_key,
       ARRAY (SELECT e.list_code FROM eligible_person AS e WHERE e.person_id = p.id) AS lists
FROM person AS p LEFT JOIN resident_profile AS f ON f.person_id = p.id
WHERE p.id = :person_id AND p.state <> 'closed'
FOR NO KEY UPDATE OF p
""")
_COUNT_UNITS = text("""
SELECT coalesce(sum(units_asked), 0)::bigint FROM application
WHERE campaign_id = :campaign_id AND applicant_key = :applicant_key AND frame <> :frame
  AND state NOT IN ('withdrawn', 'rejected')
""")
_WITHDRAW = text("""
UPDATE application SET state = 'withdrawn', reason = NULL, decided_at = :now WHERE id = :id
""")

_GIVE_WALLET = text("""
UPDATE application SET wallet_id = :wallet_id WHERE id = :id AND wallet_id IS NULL
""")


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody applies for, and who they are as far as the channel knows.

    ``wallet_id`` is where the vouchers shall go; a paper may have none. A person stands behind
    the wallet, or is named by ``person_id``; only of whoever is neither, the paper itself counts
    (``identity``), with what a clerk has read there (``facts``).
    """

    campaign_id: UUID
    frame: str
    units: int
    channel: Channel
    wallet_id: UUID | None = None
    person_id: UUID | None = None
    identity: SoftIdentity | None = None
    facts: ApplicantFacts = ApplicantFacts()


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """An application as it stands."""

    id: UUID
    campaign_id: UUID
    frame: str
    person_id: UUID | None
    wallet_id: UUID | None
    channel: Channel
    units_asked: int
    state: ApplicationState
    reason: str | None
    made_by: str
    created_at: datetime
    decided_at: datetime | None


class _Applicant(msgspec.Struct, frozen=True):
    """Who applies: a person, or whoever stands on a paper; and what is known of them."""

    person_id: UUID | None
    soft_key: bytes | None
    facts: ApplicantFacts


async def apply(
    connection: AsyncConnection, *, wish: Wish, made_by: str, pepper: bytes, now_us: int
) -> tuple[Application, bool]:
    """Take an application and return it, and whether it is new; the same one again is answered.

    Raises :class:`RefusedError` ``campaign_unknown``, ``applications_closed`` outside the time,
    ``frame_unknown``, ``units_too_many``, ``wallet_unknown``, ``wallet_frozen``,
    ``person_unknown``, ``application_not_eligible`` with the ``reasons``, and
    ``application_exists`` when the same person has asked for another number of units.
    """
    campaign = await hold_campaign(connection, wish.campaign_id)
    _check_open(campaign, now_us=now_us)
    applicant = await _find_applicant(connection, wish, pepper=pepper)
    key = applicant_key(
        campaign.id,
        key=derived_key(purpose="campaign applicant", pepper=pepper),
        person_id=applicant.person_id,
        soft_key=applicant.soft_key,
    )
    twin = await _find_twin(connection, wish, key)
    if twin is not None:
        return _repeated(twin, wish), False
    await _check_wish(connection, campaign, wish, applicant, key)
    values: dict[str, Any] = {
        "id": new_id(now_us=now_us),
        "campaign_id": campaign.id,
        "frame": wish.frame,
        "applicant_key": key,
        "soft_key": applicant.soft_key,
        "person_id": applicant.person_id,
        "wallet_id": wish.wallet_id,
        "channel": wish.channel,
        "units_asked": wish.units,
        "state": "submitted",
        "made_by": made_by,
        "created_at": to_datetime(now_us),
    }
    written = await connection.execute(
        insert(application).values(values).on_conflict_do_nothing().returning(application.c.id)
    )
    if written.one_or_none() is None:  # Somebody without a row to lock has just sent it in as well.
        twin = await _find_twin(connection, wish, key)
        if twin is None:
            raise RefusedError("application_exists")
        return _repeated(twin, wish), False
    made = await find_application(connection, values["id"])
    await _tell(connection, "application.submitted", made, now_us)
    return made, True


async def withdraw(connection: AsyncConnection, *, application_id: UUID, now_us: int) -> None:
    """Take an application back while they are open; another one may be sent in.

    Raises :class:`RefusedError` ``application_unknown``, ``applications_closed``.
    """
    found = await find_application(connection, application_id)
    campaign = await hold_campaign(connection, found.campaign_id)
    _check_open(campaign, now_us=now_us)
    held = await lock_application(connection, application_id)
    if held.state == "withdrawn":
        return
    values = {"id": application_id, "now": to_datetime(now_us)}
    await connection.execute(_WITHDRAW, values)
    await _tell(connection, "application.withdrawn", held, now_us)


async def give_wallet(
    connection: AsyncConnection, *, application_id: UUID, wallet_id: UUID
) -> Application:
    """Say where the vouchers of a paper shall go, once; until then they cannot be bought.

    Raises :class:`RefusedError` ``application_unknown``, ``application_decided`` when it was said
    or there is nothing to go anywhere, ``wallet_unknown`` also for somebody else's,
    ``wallet_frozen``, and ``application_exists`` when the wallet's holder has another application
    for the frame.
    """
    held = await lock_application(connection, application_id)
    if held.wallet_id is not None or held.state in {"withdrawn", "rejected"}:
        raise RefusedError("application_decided", state=held.state)
    holder = await _find_holder(connection, wallet_id, held.person_id)
    if holder is not None:
        await _check_only(connection, held, holder)
    await connection.execute(_GIVE_WALLET, {"id": application_id, "wallet_id": wallet_id})
    return await find_application(connection, application_id)


async def holder_of(connection: AsyncConnection, wallet_id: UUID) -> UUID | None:
    """Return the person who holds a wallet; None for a card's, or when there is no such wallet."""
    row = (await connection.execute(_FIND_WALLET, {"wallet_id": wallet_id})).one_or_none()
    holder: UUID | None = None if row is None else row.person_id
    return holder


async def find_application(connection: AsyncConnection, application_id: UUID) -> Application:
    """Return an application; raises :class:`RefusedError` ``application_unknown``."""
    return await _read(connection, _FIND, application_id)


async def lock_application(connection: AsyncConnection, application_id: UUID) -> Application:
    """Return an application that nobody else changes meanwhile."""
    return await _read(connection, _LOCK, application_id)


def _check_open(campaign: Campaign, *, now_us: int) -> None:
    """Raise unless applications are taken now: the state says so, and so do the times."""
    start, end = campaign.terms.apply_from, campaign.terms.apply_until
    if campaign.suspended_at is not None:
        raise RefusedError("campaign_suspended")
    is_open = campaign.state is State.APPLYING and start is not None and end is not None
    if not is_open or start is None or end is None or not start <= to_datetime(now_us) < end:
        raise RefusedError("applications_closed")


async def _find_applicant(connection: AsyncConnection, wish: Wish, *, pepper: bytes) -> _Applicant:
    """Return who applies; a person's row is locked."""
    person_id = wish.person_id
    if wish.wallet_id is not None:
        person_id = await _find_holder(connection, wish.wallet_id, person_id) or person_id
    soft_key = None
    if wish.identity is not None:
        key = derived_key(purpose="soft identity", pepper=pepper)
        soft_key = soft_key_of(wish.identity, key=key)
    if person_id is None:
        if soft_key is None:
            raise RefusedError("person_unknown")
        return _Applicant(None, soft_key, wish.facts)
    row = (await connection.execute(_FIND_FACTS, {"person_id": person_id})).one_or_none()
    if row is None:
        raise RefusedError("person_unknown")
    facts = ApplicantFacts(
        resident=row.resident,
        birth_year=row.birth_year,
        children=row.children,
        lists=frozenset(row.lists),
    )
    return _Applicant(person_id, soft_key or row.soft_key, facts)


async def _find_holder(
    connection: AsyncConnection, wallet_id: UUID, person_id: UUID | None
) -> UUID | None:
    """Return who holds a wallet, None for a card's; it must be of ``person_id`` or a card's."""
    row = (await connection.execute(_FIND_WALLET, {"wallet_id": wallet_id})).one_or_none()
    if row is None or row.state == "closed":
        raise RefusedError("wallet_unknown")
    if row.state != "active":
        raise RefusedError("wallet_frozen")
    if person_id is not None and row.person_id not in {None, person_id}:
        raise RefusedError("wallet_unknown")
    holder: UUID | None = row.person_id
    return holder


async def _check_only(connection: AsyncConnection, held: Application, holder: UUID) -> None:
    """Raise when somebody has another application for the frame; they cannot send one meanwhile."""
    await connection.execute(_LOCK_PERSON, {"person_id": holder})
    values = {
        "id": held.id,
        "campaign_id": held.campaign_id,
        "frame": held.frame,
        "person_id": holder,
    }
    if (await connection.execute(_HAS_OTHER, values)).scalar_one():
        raise RefusedError("application_exists")


async def _check_wish(
    connection: AsyncConnection,
    campaign: Campaign,
    wish: Wish,
    applicant: _Applicant,
    key: bytes,
) -> None:
    """Raise for a wish that can never be met; what is not known yet is looked at later.

    A paper of somebody unknown has to say everything, for nobody can look it up afterwards.
    """
    frames = await find_frames(connection, campaign.terms)
    terms = frames.get(wish.frame)
    if terms is None or terms.frame is None or wish.frame not in campaign.terms.frames:
        raise RefusedError("frame_unknown")
    if wish.units > terms.frame.sets_per_person:
        raise RefusedError("units_too_many", units_max=terms.frame.sets_per_person)
    most = campaign.terms.units_per_person
    if most is not None:
        values = {"campaign_id": campaign.id, "applicant_key": key, "frame": wish.frame}
        taken = (await connection.execute(_COUNT_UNITS, values)).scalar_one()
        if taken + wish.units > most:
            raise RefusedError("units_too_many", units_max=max(0, most - taken))
    reasons = judge(terms.eligibility, applicant.facts, year=age_year(campaign.terms))
    final = [one for one in reasons if one != UNCONFIRMED or applicant.person_id is None]
    if final:
        raise RefusedError("application_not_eligible", reasons=final)


async def _find_twin(connection: AsyncConnection, wish: Wish, key: bytes) -> Application | None:
    values = {"campaign_id": wish.campaign_id, "frame": wish.frame, "applicant_key": key}
    row = (await connection.execute(_FIND_TWIN, values)).mappings().one_or_none()
    return None if row is None else Application(**row)


def _repeated(twin: Application, wish: Wish) -> Application:
    if twin.units_asked != wish.units or wish.wallet_id not in {None, twin.wallet_id}:
        raise RefusedError("application_exists", units_asked=twin.units_asked)
    return twin


async def _read(connection: AsyncConnection, statement: Any, application_id: UUID) -> Application:  # noqa: ANN401 - a statement
    row = (await connection.execute(statement, {"id": application_id})).mappings().one_or_none()
    if row is None:
        raise RefusedError("application_unknown")
    return Application(**row)


async def _tell(connection: AsyncConnection, kind: str, made: Application, now_us: int) -> None:
    body = {"application_id": made.id, "campaign_id": made.campaign_id}
    await tell(connection, kind=kind, body=body, now_us=now_us)
