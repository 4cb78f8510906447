"""The lottery of a campaign: who wins how many units, so that anybody can recompute it.

Pure. The format is ours, ``wallet-draw/1``, and everything in it is SHA-256 (FIPS 180-4) of bytes
that are published:

1. Before applications close, the city publishes the SHA-256 of a secret seed, and names a value
   that nobody can know yet, such as a stock index at a day's close.
2. Before that value is there, it publishes the list of entries: a salted hash of each
   application's id, which only its owner can recognise, with the frame and the units asked for.
3. Then it publishes the seed and the value. Seed, list and value together make the key; the hash
   of the key and an entry is the entry's place in the ranking of its frame.
4. Units are dealt out in that ranking, one to each entry, then a second one to whoever asked for
   more, and so on, so that as many people as there are units get at least one. When there are
   enough for everybody, everybody gets what they asked for.

The seed alone decides nothing while the value is open, the value alone nothing while the seed is
secret, and neither helps whoever would still change the list. ``scripts/verify_draw.py``
recomputes a draw from what was published, with nothing of this.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final
from uuid import UUID

import msgspec

from wallet.core.ids import public_id

FORMAT: Final = "wallet-draw/1"
SEED_BYTES: Final = 32

LIST_HEADER: Final = "frame,entry,units_asked\n"
RESULT_HEADER: Final = "frame,entry,units_asked,units_won\n"


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One application in a draw: the hash it goes by, its frame, the units asked for."""

    frame: str
    entry: bytes
    units_asked: int


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of an entry; none won is an outcome too."""

    entry: Entry
    units_won: int


def commitment_of(seed: bytes) -> bytes:
    """Return what is published of a seed while it is secret."""
    return hashlib.sha256(seed).digest()


def entry_of(application_id: UUID, *, salt: bytes) -> bytes:
    """Return the hash that an application goes by in the draw with this salt, its id's 16 bytes.

    An id has 62 random bits, so it cannot be found again by trying; whoever has the id finds the
    hash at once.
    """
    name = public_id("app", application_id)
    return hashlib.sha256(f"{FORMAT} entry\n{salt.hex()}\n{name}".encode()).digest()


def key_of(*, seed: bytes, list_hash: bytes, public_value: str) -> bytes:
    """Return what ranks the entries; seed and list hash are 32 bytes each, so nothing shifts."""
    head = f"{FORMAT} key\n".encode()
    return hashlib.sha256(head + seed + list_hash + public_value.encode()).digest()


def listed(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries in the order of the published list."""
    return sorted(entries, key=lambda one: (one.frame, one.entry))


def list_text(entries: Sequence[Entry]) -> str:
    """Return the published list of entries in the order of :func:`listed`, as CSV."""
    rows = [f"{one.frame},{one.entry.hex()},{one.units_asked}\n" for one in entries]
    return LIST_HEADER + "".join(rows)


def result_text(outcomes: Sequence[Outcome]) -> str:
    """Return the published result, in the order of the list, as CSV."""
    return RESULT_HEADER + "".join(
        f"{one.entry.frame},{one.entry.entry.hex()},{one.entry.units_asked},{one.units_won}\n"
        for one in outcomes
    )


def hash_of(text: str) -> bytes:
    """Return the SHA-256 of a published file."""
    return hashlib.sha256(text.encode()).digest()


def draw_lots(entries: Collection[Entry], *, units: Mapping[str, int], key: bytes) -> list[Outcome]:
    """Return what becomes of every entry, in the order of the list.

    ``units`` is how many each frame has; a frame that it does not name has none.
    """
    frames: dict[str, list[Entry]] = {}
    for entry in listed(entries):
        frames.setdefault(entry.frame, []).append(entry)
    return [
        outcome
        for frame, ones in frames.items()
        for outcome in _draw_frame(ones, units.get(frame, 0), key)
    ]


def _draw_frame(entries: Sequence[Entry], units: int, key: bytes) -> list[Outcome]:
    places = sorted(
        ((hashlib.sha256(key + one.entry).digest(), at) for at, one in enumerate(entries)),
        key=itemgetter(0),
    )
    ranking = [at for _, at in places]
    shares = deal([entries[at].units_asked for at in ranking], units=units)
    won = dict(zip(ranking, shares, strict=True))
    return [Outcome(entry, won[at]) for at, entry in enumerate(entries)]


def deal(asked: Sequence[int], *, units: int) -> list[int]:
    """Deal units out in rounds to who asked in this order, and return what each one gets.

    In every round whoever has less than they asked for gets one more, until none is left.
    """
    rounds, left = 0, units
    still = _who_want_more(asked)
    while rounds < len(still) and still[rounds] <= left:
        left -= still[rounds]
        rounds += 1
    shares = []
    for wanted in asked:
        extra = left > 0 and wanted > rounds
        shares.append(min(wanted, rounds) + extra)
        left -= extra
    return shares


def _who_want_more(asked: Sequence[int]) -> list[int]:
    """Return how many asked for more than nothing, than one, than two, and so on."""
    exactly = [0] * (max(asked, default=0) + 1)
    for wanted in asked:
        exactly[wanted] += 1
    more, counts = len(asked), []
    for number in exactly:
        more -= number
        counts.append(more)
    return counts[:-1]
