"""Who applies: people drawn from one seed number, with no more of them than the city keeps."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import to_datetime
from wallet.core.database import write
from wallet.core.ids import keyed_hash, new_id
from wallet.demo.campaign.stage import Stage
from wallet.people.open_wallets import NewWallet, insert_wallets
from wallet.people.rules import Tier
from wallet.people.tables import person
from wallet.people.tiers import limits_of
from wallet.vouchers.campaign_tables import resident_profile

GENERAL: Final = "shirasagi-general"
SILVER: Final = "shirasagi-silver"
CHILD: Final = "shirasagi-child"

PEOPLE_PER_TRANSACTION: Final = 1_000
SILVER_AGE: Final = 65
UNITS_MAX: Final = 10

# Of a hundred: who is 18 to 39, to 64, to 99 years old; who has children; who lives elsewhere.
_AGES: Final = ((18, 39, 30), (40, 64, 40), (65, 99, 30))
_CHILDREN_SHARE: Final = 0.25
_ELSEWHERE_SHARE: Final = 0.01
_AREAS: Final = tuple(f"{number:02}" for number in range(1, 21))
_LETTERS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_SUPPORT_CODE_LETTERS: Final = 8


@dataclass(frozen=True, kw_only=True)
class Applicant:
    """Somebody who applies for units of a frame, by the app or on paper."""

    person_id: UUID
    wallet_id: UUID
    resident: bool
    birth_year: int
    area_code: str
    children: int
    frame: str
    units: int
    channel: str


def draw_applicants(count: int, *, seed: int, year: int, now_us: int) -> list[Applicant]:
    """Draw people: the old apply for the silver frame, families for theirs, the rest for all's."""
    rng = random.Random(f"{seed}/applicants")  # noqa: S311 - repeatable, not secret
    return [_draw(rng, year=year, now_us=now_us) for _ in range(count)]


def _draw(rng: random.Random, *, year: int, now_us: int) -> Applicant:
    ((youngest, oldest, _),) = rng.choices(_AGES, weights=[share for *_, share in _AGES])
    age = rng.randint(youngest, oldest)
    has_children = age < SILVER_AGE and rng.random() < _CHILDREN_SHARE
    frame = SILVER if age >= SILVER_AGE else CHILD if has_children else GENERAL
    return Applicant(
        person_id=new_id(now_us=now_us),
        wallet_id=new_id(now_us=now_us),
        resident=rng.random() >= _ELSEWHERE_SHARE,
        birth_year=year - age,
        area_code=rng.choice(_AREAS),
        children=rng.randint(1, 3) if has_children else 0,
        frame=frame,
        units=rng.randint(1, UNITS_MAX),
        channel="paper" if age >= SILVER_AGE and rng.random() < 1 / 4 else "app",
    )


async def enrol(stage: Stage, applicants: Sequence[Applicant]) -> None:
    """Write the applicants down as residents whom the identity app has proven."""
    now_us = stage.clock()
    starts = range(0, len(applicants), PEOPLE_PER_TRANSACTION)
    for start in stage.each("住民", starts):
        group = applicants[start : start + PEOPLE_PER_TRANSACTION]

        async def work(
            connection: AsyncConnection, first: int = start, group: Sequence[Applicant] = group
        ) -> None:
            await _insert(connection, group, first=first, pepper=stage.pepper, now_us=now_us)

        await write(stage.engine, work)


async def _insert(
    connection: AsyncConnection,
    applicants: Sequence[Applicant],
    *,
    first: int,
    pepper: bytes,
    now_us: int,
) -> None:
    now = to_datetime(now_us)
    numbered = enumerate(applicants, first)
    rows = [_person(one, number, pepper=pepper, now=now) for number, one in numbered]
    await connection.execute(person.insert(), rows)
    limits = limits_of(Tier.RESIDENT)
    wallets = [
        NewWallet(
            one.wallet_id, "resident", limits.payment_yen, limits.day_yen, person_id=one.person_id
        )
        for one in applicants
    ]
    await insert_wallets(connection, wallets=wallets, now_us=now_us)
    profiles = [
        {
            "person_id": one.person_id,
            "birth_year": one.birth_year,
            "area_code": one.area_code,
            "children": one.children,
            "updated_at": now,
        }
        for one in applicants
    ]
    await connection.execute(resident_profile.insert(), profiles)


def _person(one: Applicant, number: int, *, pepper: bytes, now: datetime) -> dict[str, Any]:
    return {
        "id": one.person_id,
        "tier": Tier.RESIDENT,
        "state": "active",
        "subject_hash": keyed_hash(f"rehearsal {number}", pepper=pepper),
        "resident": one.resident,
        "support_code": _support_code(number),
        "opened_at": now,
    }


def _support_code(number: int) -> str:
    """Return a code of its own for each number: the number itself, in letters."""
    letters = []
    for _ in range(_SUPPORT_CODE_LETTERS):
        number, place = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[place])
    return "".join(letters)
