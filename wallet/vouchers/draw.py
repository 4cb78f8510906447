"""Drawing the lots of a campaign: commit, fix the list, reveal, draw, tell; each step on its own.

The office takes the steps that people watch: it commits to a seed, has the list fixed, and
reveals the public value once it is there. What takes long, for three hundred thousand entries, is
done by the worker in portions (:mod:`wallet.vouchers.draw_due`), and done again from any point it
may be interrupted at with the same result to the byte.
"""

import secrets
import unicodedata
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import MICROSECONDS, rfc3339, to_datetime, to_microseconds
from wallet.core.ids import new_id
from wallet.core.refusals import RefusedError
from wallet.core.sealing import seal, unseal
from wallet.vouchers.campaign_tables import draw as draw_table
from wallet.vouchers.campaigns import Campaign, Told, lock_campaign, note
from wallet.vouchers.campaigns_rules import SECOND, Mode, State
from wallet.vouchers.lottery import FORMAT, SEED_BYTES, commitment_of

VALUE_CHARACTERS_MAX: Final = 200
VALUE_DAYS_MAX: Final = 366

_PURPOSE: Final = "draw seed"

COLUMNS: Final = """
SELECT id, campaign_id, round, commitment, seed_sealed, public_value_named, public_value_at,
       committed_at, list_asked_at, list_hash, listed_at, units, public_value, seed, revealed_at,
       result_hash, drawn_at, offers_until
FROM draw
"""
_FIND = text(f"{COLUMNS} WHERE campaign_id = :campaign_id AND round = :round")
_LIST = text(f"{COLUMNS} WHERE campaign_id = :campaign_id ORDER BY round")

_RENAME = text("""
UPDATE draw SET public_value_named = :named, public_value_at = :at WHERE id = :id
""")
_ASK = text("UPDATE draw SET list_asked_at = :now WHERE id = :id")
_REVEAL = text("""
UPDATE draw SET seed = :seed, public_value = :public_value, revealed_at = :now WHERE id = :id
""")
_UNCHECKED = text("""
SELECT count(*) FROM application WHERE campaign_id = :campaign_id AND state = 'submitted'
""")

_COMMITTING: Final = {
    1: frozenset({State.MERCHANT_RECRUITING, State.PUBLISHED}),
    SECOND: frozenset(
        {State.CHECKING, State.DRAWN, State.NOTIFIED, State.PURCHASING, State.LAPSED_UNITS}
    ),
}
"""Round one is committed to before anybody applies, so the campaign cannot open without."""

_LISTING: Final = {1: State.CHECKING, SECOND: State.LAPSED_UNITS}


class PublicValue(msgspec.Struct, frozen=True, kw_only=True):
    """A value that will be public: which one, in words, and the moment nobody knows it before."""

    named: str
    at: datetime


class Draw(msgspec.Struct, frozen=True, kw_only=True):
    """A draw as far as it has come."""

    id: UUID
    campaign_id: UUID
    round: int
    commitment: bytes
    seed_sealed: bytes
    public_value_named: str
    public_value_at: datetime
    committed_at: datetime
    list_asked_at: datetime | None
    list_hash: bytes | None
    listed_at: datetime | None
    units: dict[str, int] | None
    public_value: str | None
    seed: bytes | None
    revealed_at: datetime | None
    result_hash: bytes | None
    drawn_at: datetime | None
    offers_until: datetime | None


async def commit_seed(
    connection: AsyncConnection,
    *,
    campaign_id: UUID,
    round_: int,
    value: PublicValue,
    actor: str,
    pepper: bytes,
    now_us: int,
) -> Draw:
    """Draw a seed, keep it sealed, publish its hash and the value that will be added to it.

    Raises :class:`RefusedError` ``campaign_unknown``, ``campaign_suspended``, ``draw_not_now``
    in the wrong state or where nobody applies, ``draw_committed`` when it was done, and
    ``draw_value_invalid`` for a value that may be known already.
    """
    campaign = await _lock_active(connection, campaign_id)
    terms = campaign.terms
    is_planned = terms.mode is not Mode.FIRST_COME and (round_ == 1 or terms.second_round)
    if not is_planned or campaign.state not in _COMMITTING[round_]:
        raise RefusedError("draw_not_now")
    closes = terms.apply_until if round_ == 1 else None
    _check_value(value, after=closes, now_us=now_us)
    if await find_draw(connection, campaign_id, round_) is not None:
        raise RefusedError("draw_committed")
    draw_id, seed = new_id(now_us=now_us), secrets.token_bytes(SEED_BYTES)
    await connection.execute(
        draw_table.insert().values(
            id=draw_id,
            campaign_id=campaign_id,
            round=round_,
            commitment=commitment_of(seed),
            seed_sealed=seal(seed, purpose=_PURPOSE, owner=draw_id.bytes, pepper=pepper),
            public_value_named=value.named,
            public_value_at=value.at,
            committed_at=to_datetime(now_us),
        )
    )
    text_ = (
        f"{round_}回目の抽選の種のハッシュ値は{commitment_of(seed).hex()}です。"
        f"{value.named}と合わせて抽選します。"
    )
    told = Told(kind="committed", actor=actor, public_text=text_, scheduled_at=value.at)
    await note(connection, campaign_id, told, now_us=now_us)
    return await _require(connection, campaign_id, round_)


async def rename_value(
    connection: AsyncConnection,
    *,
    campaign_id: UUID,
    round_: int,
    value: PublicValue,
    actor: str,
    reason: str,
    now_us: int,
) -> Draw:
    """Name a later public value, for a reason that is published, before the list is fixed.

    Raises :class:`RefusedError` ``campaign_unknown``, ``campaign_suspended``, ``draw_unknown``,
    ``draw_listed`` and ``draw_value_invalid``.
    """
    await _lock_active(connection, campaign_id)
    held = await _require(connection, campaign_id, round_)
    if held.listed_at is not None:
        raise RefusedError("draw_listed")
    _check_value(value, after=held.public_value_at, now_us=now_us)
    await connection.execute(_RENAME, {"id": held.id, "named": value.named, "at": value.at})
    text_ = f"{round_}回目の抽選に使う値を{value.named}に変えました。"
    told = Told(
        kind="renamed", actor=actor, reason=reason, public_text=text_, scheduled_at=value.at
    )
    await note(connection, campaign_id, told, now_us=now_us)
    return await _require(connection, campaign_id, round_)


async def ask_for_list(
    connection: AsyncConnection, *, campaign_id: UUID, round_: int, actor: str, now_us: int
) -> Draw:
    """Have the list of entries fixed; from now on nobody is accepted or rejected any more.

    Raises :class:`RefusedError` ``campaign_unknown``, ``campaign_suspended``, ``draw_unknown``,
    ``draw_not_now``, ``draw_listed`` when it was asked for, ``applications_unchecked`` while some
    wait for somebody, and ``draw_value_invalid`` when the public value may be known by now.
    """
    campaign = await _lock_active(connection, campaign_id)
    held = await _require(connection, campaign_id, round_)
    if campaign.state is not _LISTING[round_]:
        raise RefusedError("draw_not_now")
    if held.list_asked_at is not None:
        raise RefusedError("draw_listed")
    waiting = (await connection.execute(_UNCHECKED, {"campaign_id": campaign_id})).scalar_one()
    if waiting:
        raise RefusedError("applications_unchecked", waiting=waiting)
    if to_microseconds(held.public_value_at) <= now_us:
        raise RefusedError("draw_value_invalid")
    await connection.execute(_ASK, {"id": held.id, "now": to_datetime(now_us)})
    text_ = f"{round_}回目の抽選に参加する申込を確定しています。"
    told = Told(kind="list_asked", actor=actor, public_text=text_)
    await note(connection, campaign_id, told, now_us=now_us)
    return await _require(connection, campaign_id, round_)


async def reveal(
    connection: AsyncConnection,
    *,
    campaign_id: UUID,
    round_: int,
    public_value: str,
    actor: str,
    pepper: bytes,
    now_us: int,
) -> Draw:
    """Write down the public value and open the seed; the worker draws as soon as it sees both.

    The value is kept as it is said, but for spaces around it and the width of its characters.
    Raises :class:`RefusedError` ``campaign_unknown``, ``campaign_suspended``, ``draw_unknown``,
    ``draw_not_listed``, ``draw_too_early`` before the value can be known, ``draw_revealed`` when
    it was done, and ``draw_value_invalid`` for none.
    """
    await _lock_active(connection, campaign_id)
    held = await _require(connection, campaign_id, round_)
    if held.listed_at is None:
        raise RefusedError("draw_not_listed")
    if held.revealed_at is not None:
        raise RefusedError("draw_revealed")
    if now_us < to_microseconds(held.public_value_at):
        raise RefusedError("draw_too_early")
    said = unicodedata.normalize("NFKC", public_value).strip()
    if not 1 <= len(said) <= VALUE_CHARACTERS_MAX:
        raise RefusedError("draw_value_invalid")
    seed = unseal(held.seed_sealed, purpose=_PURPOSE, owner=held.id.bytes, pepper=pepper)
    values = {"id": held.id, "seed": seed, "public_value": said, "now": to_datetime(now_us)}
    await connection.execute(_REVEAL, values)
    text_ = f"{round_}回目の抽選の種は{seed.hex()}、{held.public_value_named}は{said}でした。"
    told = Told(kind="revealed", actor=actor, public_text=text_, scheduled_at=held.public_value_at)
    await note(connection, campaign_id, told, now_us=now_us)
    return await _require(connection, campaign_id, round_)


async def find_draw(connection: AsyncConnection, campaign_id: UUID, round_: int) -> Draw | None:
    """Return a round's draw, None before it is committed to."""
    values = {"campaign_id": campaign_id, "round": round_}
    row = (await connection.execute(_FIND, values)).mappings().one_or_none()
    return None if row is None else Draw(**row)


async def list_draws(connection: AsyncConnection, campaign_id: UUID) -> list[Draw]:
    """Return a campaign's draws by round."""
    rows = (await connection.execute(_LIST, {"campaign_id": campaign_id})).mappings()
    return [Draw(**row) for row in rows]


def document_of(draw: Draw, *, code: str, with_result: bool) -> dict[str, Any]:
    """Return what is published of a draw so far; None stands for what is not there yet.

    ``with_result`` once the results are everybody's. ``scripts/verify_draw.py`` reads it.
    """
    return {
        "format": FORMAT,
        "campaign": code,
        "round": draw.round,
        "salt": draw.id.hex,
        "commitment": draw.commitment.hex(),
        "committed_at": rfc3339(to_microseconds(draw.committed_at)),
        "public_value_named": draw.public_value_named,
        "public_value_at": rfc3339(to_microseconds(draw.public_value_at)),
        "list_sha256": _hex(draw.list_hash),
        "listed_at": _moment(draw.listed_at),
        "units": draw.units,
        "public_value": draw.public_value,
        "seed": _hex(draw.seed),
        "revealed_at": _moment(draw.revealed_at),
        "result_sha256": _hex(draw.result_hash) if with_result else None,
    }


async def _lock_active(connection: AsyncConnection, campaign_id: UUID) -> Campaign:
    held = await lock_campaign(connection, campaign_id)
    if held.suspended_at is not None:
        raise RefusedError("campaign_suspended")
    return held


async def _require(connection: AsyncConnection, campaign_id: UUID, round_: int) -> Draw:
    found = await find_draw(connection, campaign_id, round_)
    if found is None:
        raise RefusedError("draw_unknown")
    return found


def _check_value(value: PublicValue, *, after: datetime | None, now_us: int) -> None:
    """Raise unless the value is in the future, but not for ever, and after ``after`` as well."""
    at_us = to_microseconds(value.at)
    is_far = at_us > now_us + VALUE_DAYS_MAX * 86_400 * MICROSECONDS
    is_known = at_us <= now_us or (after is not None and value.at <= after)
    if is_known or is_far or not 1 <= len(value.named.strip()) <= VALUE_CHARACTERS_MAX:
        raise RefusedError("draw_value_invalid")


def _hex(data: bytes | None) -> str | None:
    return None if data is None else data.hex()


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(to_microseconds(moment))
