"""The pure part of ops: what can be stopped, what a stop applies to, whom an incident is told.

Nothing here reads a file or a table, so the money rooms may ask it in the middle of a decision.
"""

import re
from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

from wallet.core.my_number import is_my_number


class ScopeKind(StrEnum):
    """What kind of thing a stop holds up; a scope is a kind alone or ``kind:target``."""

    ALL = "all"
    PAY = "pay"
    ISSUE = "issue"
    CHARGE = "charge"
    GIFT = "gift"
    CASH_OUT = "cash-out"
    SALE = "sale"
    SIGN_IN = "sign-in"
    PROGRAMME = "programme"
    MERCHANT = "merchant"
    TIER = "tier"
    APP_VERSION = "app-version"
    CARD_RANGE = "card-range"


_TARGETS: Final = {
    ScopeKind.PROGRAMME: "[a-z0-9-]{1,64}",
    ScopeKind.MERCHANT: "[0-9a-f]{32}",
    ScopeKind.TIER: "T[0-3]",
    ScopeKind.APP_VERSION: r"[0-9A-Za-z][0-9A-Za-z.+-]{0,31}",
    ScopeKind.CARD_RANGE: "(?P<first>[0-9]{12})-(?P<last>[0-9]{12})",
}
_FORMATS: Final = {
    kind: re.compile(f"{kind}:{_TARGETS[kind]}" if kind in _TARGETS else kind) for kind in ScopeKind
}
_RANGE: Final = f"{ScopeKind.CARD_RANGE}:"

SCOPES_TOLD: Final = (
    "all, pay, issue, charge, gift, cash-out, sale, sign-in, programme:CODE, merchant:HEX,"
    " tier:T0 to tier:T3, app-version:VERSION, card-range:FIRST-LAST (numbers as printed)"
)
"""Every scope there is, in words for whoever has to name one."""


def scope_kind(scope: str) -> ScopeKind | None:
    """Return the kind of a scope, None when it is none.

    A range of cards begins and ends with numbers that cards can bear; a My Number is refused,
    because a scope is shown, logged and kept for ever.
    """
    for kind, form in _FORMATS.items():
        found = form.fullmatch(scope)
        if found is None:
            continue
        if kind is ScopeKind.CARD_RANGE:
            first, last = found["first"], found["last"]
            if first > last or is_my_number(first) or is_my_number(last):
                return None
        return kind
    return None


def target_of(scope: str) -> str | None:
    """Return what a scope names besides its kind: a programme's code, a tier, a version."""
    return scope.partition(":")[2] or None


def matches(
    stops: Collection[str],
    *kinds: ScopeKind,
    programme: str | None = None,
    merchant_id: UUID | None = None,
    tier: str | None = None,
    app_version: str | None = None,
    card_number: str | None = None,
) -> bool:
    """Whether any of the engaged ``stops`` holds up something of these kinds and of these facts.

    A stop of everything always does. What is not known is left out, and no stop of it applies;
    ``card_number`` is the printed one.
    """
    if not stops:
        return False
    asked: set[str] = {ScopeKind.ALL, *kinds}
    if programme is not None:
        asked.add(f"programme:{programme}")
    if merchant_id is not None:
        asked.add(f"merchant:{merchant_id.hex}")
    if tier is not None:
        asked.add(f"tier:{tier}")
    if app_version is not None:
        asked.add(f"app-version:{app_version}")
    if not asked.isdisjoint(stops):
        return True
    return card_number is not None and any(_is_within(card_number, stop) for stop in stops)


def _is_within(card_number: str, scope: str) -> bool:
    """Numbers of one length are in the order of their digits."""
    if not scope.startswith(_RANGE):
        return False
    first, _, last = scope.removeprefix(_RANGE).partition("-")
    return first <= card_number <= last


class IncidentKind(StrEnum):
    """What went wrong; it decides who is told."""

    LEAK = "leak"
    MISCONDUCT = "misconduct"
    CLERICAL = "clerical"
    OUTAGE = "outage"
    FRAUD = "fraud"


class IncidentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an incident and decides on the reports; ``persons`` None is not known."""

    kind: IncidentKind
    noticed_at: datetime
    malicious: bool = False
    sensitive: bool = False
    persons: int | None = None


_Hours = Annotated[int, msgspec.Meta(ge=0, le=24 * 365)]


class Duty(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One report that an incident of these kinds calls for; a row of ``duties.toml``.

    ``due_h`` runs from the moment of noticing; ``due_if_malicious_h`` takes its place where there
    was bad intent. ``when`` is "always", or "reportable": only where the law asks for it, because
    of intent, of sensitive data, or of more persons than ``persons_above``; as long as nobody
    knows how many, it is asked for.
    """

    kinds: tuple[IncidentKind, ...]
    recipient: str
    report: str
    due_h: _Hours
    basis: str
    due_if_malicious_h: _Hours | None = None
    when: Literal["always", "reportable"] = "always"
    persons_above: Annotated[int, msgspec.Meta(ge=0)] = 0


class DueReport(msgspec.Struct, frozen=True, order=True):
    """A report that is owed: when, to whom, and which."""

    due_at: datetime
    recipient: str
    report: str


def reports_due(duties: Collection[Duty], facts: IncidentFacts) -> list[DueReport]:
    """Return the reports that an incident calls for, the most urgent first."""
    return sorted(
        DueReport(_due_at(duty, facts), duty.recipient, duty.report)
        for duty in duties
        if facts.kind in duty.kinds and _applies(duty, facts)
    )


def _applies(duty: Duty, facts: IncidentFacts) -> bool:
    if duty.when == "always" or facts.malicious or facts.sensitive:
        return True
    return facts.persons is None or facts.persons > duty.persons_above


def _due_at(duty: Duty, facts: IncidentFacts) -> datetime:
    hours = duty.due_h
    if facts.malicious and duty.due_if_malicious_h is not None:
        hours = duty.due_if_malicious_h
    return facts.noticed_at + timedelta(hours=hours)
