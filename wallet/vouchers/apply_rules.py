"""Who may apply for what: the pure part of applications."""

import hashlib
import re
import unicodedata
from datetime import date
from typing import Final
from uuid import UUID

import msgspec

from wallet.programmes.terms import Eligibility

UNITS_MAX: Final = 1_000
"""A bound for every door; how many one may ask for stands in the frame."""

NOT_RESIDENT: Final = "not_resident"
AGE: Final = "age"
CHILDREN: Final = "children"
NOT_LISTED: Final = "not_listed"
UNCONFIRMED: Final = "unconfirmed"
POSSIBLE_DUPLICATE: Final = "possible_duplicate"
DUPLICATE: Final = "duplicate"
PAPER_INCOMPLETE: Final = "paper_incomplete"

REASONS: Final = frozenset(
    {
        NOT_RESIDENT,
        AGE,
        CHILDREN,
        NOT_LISTED,
        UNCONFIRMED,
        DUPLICATE,
        PAPER_INCOMPLETE,
    }
)
"""Why an application may be rejected; what people read of each stands with the doors."""

_KEY_BYTES: Final = 32

_BETWEEN_NUMBERS: Final = re.compile(r"(?<=\d)(?:ー|[\W_]+)(?=\d)")
"""What stands between two numbers of an address, where many type a long vowel mark for a hyphen."""

_SEPARATOR: Final = "\x1f"


class ApplicantFacts(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the city knows of an applicant; None is not known. ``lists`` they are on."""

    resident: bool | None = None
    birth_year: int | None = None
    children: int | None = None
    lists: frozenset[str] = frozenset()


class SoftIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What a paper says of whoever sent it in; only a keyed hash of it is kept."""

    name: str
    birth_date: date
    address: str


def judge(eligibility: Eligibility, facts: ApplicantFacts, *, year: int) -> list[str]:
    """Return why the frame is not for somebody, surest reason first; empty when it is.

    :data:`UNCONFIRMED` says that something is not known yet. Only the year of birth is kept, so
    two ages are possible on a day of ``year``; where either fits, it is taken to fit.
    """
    reasons = []
    if eligibility.resident is True and facts.resident is False:
        reasons.append(NOT_RESIDENT)
    if facts.birth_year is not None and not _age_fits(eligibility, year - facts.birth_year):
        reasons.append(AGE)
    if facts.children is not None and facts.children < eligibility.children_min:
        reasons.append(CHILDREN)
    if eligibility.list is not None and eligibility.list not in facts.lists:
        reasons.append(NOT_LISTED)
    if _is_open(eligibility, facts):
        reasons.append(UNCONFIRMED)
    return reasons


def _age_fits(eligibility: Eligibility, reached: int) -> bool:
    """Whether one who reaches this age within the year fits, before or after the birthday."""
    old_enough = eligibility.min_age is None or reached >= eligibility.min_age
    young_enough = eligibility.max_age is None or reached - 1 <= eligibility.max_age
    return old_enough and young_enough


def _is_open(eligibility: Eligibility, facts: ApplicantFacts) -> bool:
    asks_age = eligibility.min_age is not None or eligibility.max_age is not None
    return (
        (eligibility.resident is True and facts.resident is None)
        or (asks_age and facts.birth_year is None)
        or (eligibility.children_min > 0 and facts.children is None)
    )


def applicant_key(
    campaign_id: UUID, *, key: bytes, person_id: UUID | None, soft_key: bytes | None
) -> bytes:
    """Return what tells one applicant from another within a campaign, and nowhere else.

    Whoever is known is known by their id, whatever paper they fill in; whoever is not, by the
    paper. Raises :class:`ValueError` for nobody at all.
    """
    if person_id is not None:
        who = b"person" + person_id.bytes
    elif soft_key is not None:
        who = b"paper." + soft_key
    else:
        message = "an applicant is a person or stands on a paper"
        raise ValueError(message)
    return _keyed(campaign_id.bytes + who, key)


def soft_key_of(identity: SoftIdentity, *, key: bytes) -> bytes:
    """Return the keyed hash of a name, a birth date and an address, however they are written.

    Width, case, spaces and the kinds of hyphens differ between forms, so they make no difference.
    The same key is a hint that two are one, and never a proof.
    """
    parts = (identity.name, identity.birth_date.isoformat(), identity.address)
    return _keyed("\n".join(_plain(part) for part in parts).encode(), key)


def household_key_of(address: str, *, key: bytes) -> bytes:
    """Return the keyed hash of an address: the same for all who live there."""
    return _keyed(_plain(address).encode(), key)


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    parted = _BETWEEN_NUMBERS.sub(_SEPARATOR, folded)
    return "".join(
        one for one in parted if one == _SEPARATOR or unicodedata.category(one)[0] in "LNM"
    )


def _keyed(data: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(data, key=key, digest_size=_KEY_BYTES).digest()
