"""The tiers and what each allows: read from ``tiers.toml`` once, checked, and asked by every door.

The file is the policy. What is checked here is that it is whole and that a better known person is
never allowed less.
"""

import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from wallet.people.rules import Tier, TierLimits, Tiers

PATH: Final = Path(__file__).with_name("tiers.toml")

COOLING_OFF_H_MIN: Final = 12
"""A new proxy waits as long as a new device does, or longer."""


class TiersError(ValueError):
    """The tiers cannot be used; the message says what is wrong. No process starts on them."""


@cache
def tiers() -> Tiers:
    """Return the policy; reads the file on the first call only."""
    return read_tiers(PATH.read_text(encoding="utf-8"))


def limits_of(tier: str) -> TierLimits:
    """Return what a tier allows; raises ValueError for a name that is none."""
    return tiers().of(Tier(tier))


def read_tiers(toml: str) -> Tiers:
    """Return the policy in a TOML document; raises :class:`TiersError`."""
    try:
        read = msgspec.convert(tomllib.loads(toml), Tiers)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        message = f"the tiers cannot be read: {error}"
        raise TiersError(message) from None
    problems = list(_problems(read))
    if problems:
        raise TiersError("; ".join(problems))
    return read


def _problems(read: Tiers) -> Iterator[str]:
    for lower, higher in pairwise(Tier):
        pairs = zip(read.of(lower).amounts(), read.of(higher).amounts(), strict=True)
        if any(less > more for less, more in pairs):
            yield f"{higher} allows less than {lower}"
    for tier in Tier:
        limits = read.of(tier)
        if limits.payment_yen > limits.day_yen:
            yield f"one payment of {tier} may exceed its day"
    if read.helper.cooling_off_h < COOLING_OFF_H_MIN:
        yield f"a new proxy waits {COOLING_OFF_H_MIN} hours or more"
    if read.helper.payment_yen > read.helper.day_yen:
        yield "one payment of a proxy may exceed its day"
