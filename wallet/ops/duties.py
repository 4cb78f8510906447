"""Whom an incident is reported to, and by when: read from ``duties.toml`` once and checked."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from wallet.ops.rules import Duty, IncidentKind

PATH: Final = Path(__file__).with_name("duties.toml")


class DutiesError(ValueError):
    """The duties cannot be used; the message says what is wrong."""


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    duty: tuple[Duty, ...]


@cache
def duties() -> tuple[Duty, ...]:
    """Return the policy; reads the file on the first call only."""
    return read_duties(PATH.read_text(encoding="utf-8"))


def read_duties(toml: str) -> tuple[Duty, ...]:
    """Return the duties in a TOML document.

    Raises :class:`DutiesError` when it cannot be read, when a kind of incident is reported to
    nobody, or when one report of a kind is asked for twice.
    """
    try:
        found = msgspec.convert(tomllib.loads(toml), _Document).duty
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        message = f"the duties cannot be read: {error}"
        raise DutiesError(message) from None
    for kind in IncidentKind:
        own = [(duty.recipient, duty.report) for duty in found if kind in duty.kinds]
        if not own:
            message = f"an incident of kind {kind} would be reported to nobody"
            raise DutiesError(message)
        if len(own) > len(set(own)):
            message = f"an incident of kind {kind} would be reported twice to the same"
            raise DutiesError(message)
    return found
