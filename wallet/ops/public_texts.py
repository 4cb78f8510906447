"""What the public is told of a stop: read from ``public_texts.toml`` once and checked."""

import tomllib
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Final

import msgspec

from wallet.core.clock import JST
from wallet.ops.rules import ScopeKind

PATH: Final = Path(__file__).with_name("public_texts.toml")


class PublicTextsError(ValueError):
    """The texts cannot be used; the message says what is wrong."""


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same thing in Japanese, in easy Japanese and in English."""

    ja: str
    easy: str
    en: str


class PublicTexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every text that was approved."""

    since: Words
    next_notice: Words
    running: Words
    kind: dict[ScopeKind, Words]


@cache
def public_texts() -> PublicTexts:
    """Return the texts; reads the file on the first call only."""
    return read_public_texts(PATH.read_text(encoding="utf-8"))


def read_public_texts(toml: str) -> PublicTexts:
    """Return the texts in a TOML document.

    Raises :class:`PublicTextsError` when it cannot be read, when a kind of scope has none, or when
    a text has a blank that nobody fills in.
    """
    try:
        texts = msgspec.convert(tomllib.loads(toml), PublicTexts)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        message = f"the public texts cannot be read: {error}"
        raise PublicTextsError(message) from None
    missing = sorted(set(ScopeKind) - texts.kind.keys())
    if missing:
        message = f"nothing would be told of a stop of {', '.join(missing)}"
        raise PublicTextsError(message)
    framing = [*_texts(texts.since), *_texts(texts.next_notice)]
    plain = [one for words in (texts.running, *texts.kind.values()) for one in _texts(words)]
    for expected, told in ((["moment"], framing), ([], plain)):
        for one in told:
            if not one or [name for _, name, _, _ in Formatter().parse(one) if name] != expected:
                message = f"a public text is empty or has other blanks than it should: {one!r}"
                raise PublicTextsError(message)
    return texts


def announcement(
    kind: ScopeKind, *, since: datetime | None, next_notice_at: datetime | None
) -> Words:
    """Return what is said of a stop: what is stopped, since when, and when there will be more."""
    texts = public_texts()
    parts = [texts.kind[kind]]
    if since is not None:
        parts.append(_dated(texts.since, since))
    if next_notice_at is not None:
        parts.append(_dated(texts.next_notice, next_notice_at))
    return Words(
        "".join(part.ja for part in parts),
        "".join(part.easy for part in parts),
        " ".join(part.en for part in parts),
    )


def _dated(words: Words, moment: datetime) -> Words:
    """Fill in a moment as it is read on a clock in Japan, in each language."""
    local = moment.astimezone(JST)
    half, hour = ("午前", local.hour) if local.hour < 12 else ("午後", local.hour - 12)  # noqa: PLR2004 - noon
    day = f"{local.month}月{local.day}日"
    return Words(
        words.ja.format(moment=f"{day}{local.hour}時{local.minute:02}分"),
        words.easy.format(moment=f"{day} {half}{hour}時{local.minute:02}分"),
        words.en.format(moment=f"{local:%H:%M} on {local.day} {local:%B} (Japan time)"),
    )


def _texts(words: Words) -> Iterator[str]:
    yield from (words.ja, words.easy, words.en)
