"""How stops look to the public: JSON, and words that were approved beforehand."""

from datetime import datetime
from typing import Final, Literal

import msgspec

from wallet.core.clock import rfc3339, to_microseconds
from wallet.ops.board import Stopped, View
from wallet.ops.public_texts import Words, announcement, public_texts
from wallet.ops.rules import ScopeKind, scope_kind, target_of

_TOLD: Final = frozenset({ScopeKind.PROGRAMME, ScopeKind.APP_VERSION, ScopeKind.TIER})
"""Kinds whose target is told, because people can see by it whether they are meant."""


class WordsBody(msgspec.Struct, frozen=True):
    """One text in Japanese, in easy Japanese (やさしい日本語) and in English."""

    ja: str
    easy: str
    en: str


class StoppedBody(msgspec.Struct, frozen=True):
    """Something that is stopped.

    ``kind`` is what kind of thing, ``target`` which one, where the public may know.
    """

    kind: str
    target: str | None
    since: str | None
    next_notice_at: str | None
    message: WordsBody


class StatusBody(msgspec.Struct, frozen=True):
    """What the city has stopped; ``state`` is ``stopped`` when that is everything."""

    object: Literal["status"]
    livemode: bool
    as_of: str
    state: Literal["running", "partly_stopped", "stopped"]
    message: WordsBody
    stops: list[StoppedBody]


def status_body(view: View, *, livemode: bool) -> StatusBody:
    """Return what is stopped as the public sees it, the widest stop first."""
    order = list(ScopeKind)
    # A scope that a newer version of the programme knows, and this one does not, is no kind here.
    known = [(kind, one) for one in view.stopped if (kind := scope_kind(one.scope)) is not None]
    known.sort(key=lambda pair: (order.index(pair[0]), pair[1].scope))
    bodies = [_stopped_body(kind, one, as_of_us=view.as_of_us) for kind, one in known]
    state: Literal["running", "partly_stopped", "stopped"] = "running"
    if known:
        state = "stopped" if ScopeKind.ALL in view.scopes else "partly_stopped"
    running = _words_body(public_texts().running)
    return StatusBody(
        "status",
        livemode,
        rfc3339(view.as_of_us),
        state,
        bodies[0].message if bodies else running,
        bodies,
    )


def _stopped_body(kind: ScopeKind, stopped: Stopped, *, as_of_us: int) -> StoppedBody:
    # A notice that was promised and has not come is not promised once more.
    next_notice_at = stopped.next_notice_at
    if next_notice_at is not None and to_microseconds(next_notice_at) <= as_of_us:
        next_notice_at = None
    words = announcement(kind, since=stopped.since, next_notice_at=next_notice_at)
    return StoppedBody(
        kind,
        target_of(stopped.scope) if kind in _TOLD else None,
        _moment(stopped.since),
        _moment(next_notice_at),
        _words_body(words),
    )


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(to_microseconds(moment))


def _words_body(words: Words) -> WordsBody:
    return WordsBody(words.ja, words.easy, words.en)
