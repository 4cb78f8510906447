"""How often a secret may be guessed: counters that no number of parallel tries gets past.

A try is counted as failed before it is looked at and given back when it was right, so what runs
at the same time, or dies half-way, is counted too. Two sorts of counters:

- **Whose secret it is.** A device that is known to belong to the account has a counter of its
  own, which nobody else can move; everybody else shares the account's. After the n-th failure
  the counter is closed for a while, longer and longer (:class:`Ladder`). A stranger can thereby
  close an account to strangers, never to its owner's devices.
- **Who guesses.** Failures by address range, in the whole city and for one PIN value are tallied
  over a fixed time (:class:`Tally`). Ranges and the city count strangers only, because mobile
  carriers put thousands of people behind one address. A tally may be overshot by what is under
  way at that moment and by no more.

Accounts that do not exist are counted like those that do. What is kept of a subject is a keyed
hash. The numbers are starting values, to be changed here.
"""

import hashlib
import ipaddress
import math
from datetime import datetime
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.core.clock import MICROSECONDS, to_datetime, to_microseconds
from wallet.core.refusals import Refusal

MINUTE_S: Final = 60
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
UNTIL_RESET_S: Final = 3_650 * DAY_S
"""Closed for good, until the secret is set anew with a stronger factor."""

SWEPT_AT_ONCE_MAX: Final = 5_000

_SUBJECT_BYTES: Final = 16
_IPV4_RANGE_BITS: Final = 24
_IPV6_RANGE_BITS: Final = 56

_COUNTERS: Final = text("""
SELECT subject, failures, closed_until, forget_at FROM attempt
WHERE kind = :kind AND subject = ANY(CAST(:subjects AS bytea[]))
""")

# The row's lock makes parallel tries queue, and each sees what the one before it has written:
# this statement, not the look before it, is what holds the limit.
_TAKE: Final = text("""
INSERT INTO attempt AS a (kind, subject, window_start, failures, closed_until, forget_at)
SELECT :kind, :subject, t.now, 1, t.now + make_interval(secs => t.pauses_s[1]),
       t.now + make_interval(secs => GREATEST(t.pauses_s[1], t.forget_s))
FROM (SELECT CAST(:now AS timestamptz) AS now, CAST(:pauses_s AS int[]) AS pauses_s,
             CAST(:forget_s AS int) AS forget_s) AS t
ON CONFLICT (kind, subject) DO UPDATE SET
    failures = a.failures + 1,
    closed_until = EXCLUDED.window_start + make_interval(
        secs => (CAST(:pauses_s AS int[]))[LEAST(a.failures + 1, :rungs)]),
    forget_at = GREATEST(a.forget_at, EXCLUDED.window_start + make_interval(
        secs => (CAST(:pauses_s AS int[]))[LEAST(a.failures + 1, :rungs)]))
WHERE a.closed_until <= EXCLUDED.window_start
""")

_GIVE_BACK: Final = text("""
UPDATE attempt SET failures = failures - 1, closed_until = LEAST(closed_until, :now)
WHERE kind = :kind AND subject = :subject AND failures > 0
""")

_FORGET: Final = text("""
DELETE FROM attempt
WHERE kind = :kind AND subject = :subject AND forget_at <= COALESCE(:until, forget_at)
""")

_TALLY: Final = text("""
INSERT INTO attempt AS a (kind, subject, window_start, failures, closed_until, forget_at)
SELECT :kind, t.subject, t.now, 1, t.now, t.now + make_interval(secs => t.window_s)
FROM (SELECT w.subject, w.window_s, CAST(:now AS timestamptz) AS now
      FROM unnest(CAST(:subjects AS bytea[]), CAST(:windows_s AS int[]))
           AS w (subject, window_s)) AS t
ORDER BY t.subject
ON CONFLICT (kind, subject) DO UPDATE SET
    failures = CASE WHEN a.forget_at > EXCLUDED.window_start THEN a.failures + 1 ELSE 1 END,
    window_start = CASE WHEN a.forget_at > EXCLUDED.window_start
                        THEN a.window_start ELSE EXCLUDED.window_start END,
    forget_at = CASE WHEN a.forget_at > EXCLUDED.window_start
                     THEN a.forget_at ELSE EXCLUDED.forget_at END
""")

_SWEEP: Final = text("""
DELETE FROM attempt WHERE (kind, subject) IN (
    SELECT kind, subject FROM attempt WHERE forget_at <= :now
    ORDER BY forget_at LIMIT :most FOR UPDATE SKIP LOCKED)
""")


class Ladder(msgspec.Struct, frozen=True):
    """Pauses that grow: after failure ``n`` the counter is closed for the rung's seconds.

    ``rungs`` are (failure, seconds) in rising order. From the second-last rung on every further
    failure costs its pause again; at the last one the counter closes until it is reset.
    Failures are forgotten ``forget_s`` after the first of them, or when a pause ends that is
    longer: a slip of the finger now and then must not add up for ever. Around that moment twice
    as many may come close together.
    """

    rungs: tuple[tuple[int, int], ...]
    forget_s: int = 30 * DAY_S

    def pauses_s(self) -> list[int]:
        """Return the pause after failure 1, 2, and so on; beyond the end the last one holds."""
        last, _ = self.rungs[-1]
        return [self._pause_s(failure) for failure in range(1, last + 1)]

    def _pause_s(self, failure: int) -> int:
        repeated, repeated_s = self.rungs[-2] if len(self.rungs) > 1 else self.rungs[-1]
        exact = dict(self.rungs)
        return exact.get(failure, repeated_s if failure > repeated else 0)


class Tally(msgspec.Struct, frozen=True):
    """At most ``failures_max`` failures in the ``window_s`` seconds that the first one begins."""

    failures_max: int
    window_s: int


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one kind of secret; None where a kind has no such limit.

    ``begins_anew`` False: not even a known device forgets its failures with a success, because the
    guesser has a right code too, their own, and would enter it between the wrong ones.
    ``holder`` is the limit of whoever shows secrets that are too long to guess; it takes the place
    of a ladder, and then only failures cost a write.
    """

    ladder: Ladder | None = None
    holder: Tally | None = None
    address_range: Tally | None = None
    everywhere: Tally | None = None
    value: Tally | None = None
    begins_anew: bool = True


_RANGE: Final = Tally(failures_max=100, window_s=10 * MINUTE_S)
_EVERYWHERE: Final = Tally(failures_max=1_000, window_s=10 * MINUTE_S)

LIMITS: Final = MappingProxyType(
    {
        # NIST SP 800-63B-4: at most 100 failures in a row on one authenticator.
        "password": Limits(
            ladder=Ladder(
                rungs=((10, 15 * MINUTE_S), (20, HOUR_S), (50, DAY_S), (100, UNTIL_RESET_S))
            ),
            address_range=_RANGE,
            everywhere=_EVERYWHERE,
        ),
        # Five, as PSD2's technical standards (2018/389) article 4(3); a device key is needed too.
        # The right PIN begins anew, so a year of failures is a thief's and not the owner's.
        "pin": Limits(
            ladder=Ladder(
                rungs=((5, 15 * MINUTE_S), (10, DAY_S), (30, UNTIL_RESET_S)), forget_s=365 * DAY_S
            ),
            value=Tally(failures_max=50, window_s=HOUR_S),
        ),
        # 10 tries × 3 codes ÷ 10^6: 3 in 100,000 a day with a window of one step either side.
        "otp": Limits(
            ladder=Ladder(rungs=((10, DAY_S),), forget_s=DAY_S),
            address_range=_RANGE,
            everywhere=_EVERYWHERE,
        ),
        "recovery_code": Limits(
            ladder=Ladder(rungs=((10, HOUR_S), (100, UNTIL_RESET_S))),
            address_range=_RANGE,
            everywhere=_EVERYWHERE,
        ),
        "card_pin": Limits(
            ladder=Ladder(rungs=((3, 15 * MINUTE_S), (5, DAY_S), (10, UNTIL_RESET_S))),
            value=Tally(failures_max=50, window_s=HOUR_S),
        ),
        "claim_code": Limits(
            ladder=Ladder(rungs=((10, HOUR_S),), forget_s=DAY_S),
            address_range=Tally(failures_max=20, window_s=HOUR_S),
            everywhere=_EVERYWHERE,
            begins_anew=False,
        ),
        "support_code": Limits(
            ladder=Ladder(rungs=((5, 15 * MINUTE_S), (10, DAY_S), (30, UNTIL_RESET_S))),
            address_range=Tally(failures_max=20, window_s=HOUR_S),
            everywhere=Tally(failures_max=200, window_s=HOUR_S),
        ),
        # Codes sent to an address; each dies after five tries of its own, and opens no account.
        "contact_code": Limits(
            holder=Tally(failures_max=10, window_s=HOUR_S),
            address_range=_RANGE,
            everywhere=_EVERYWHERE,
        ),
        # No secrets, but what costs the city money or opens accounts is counted the same way.
        "contact_start": Limits(
            holder=Tally(failures_max=5, window_s=HOUR_S),
            address_range=Tally(failures_max=300, window_s=10 * MINUTE_S),
            everywhere=Tally(failures_max=3_000, window_s=10 * MINUTE_S),
        ),
        "enrol": Limits(
            address_range=Tally(failures_max=300, window_s=10 * MINUTE_S),
            everywhere=Tally(failures_max=10_000, window_s=10 * MINUTE_S),
        ),
        # What staff look up: who finds nobody again and again is trying numbers out, and who
        # reveals hundreds of contacts a day is collecting them.
        "office_search": Limits(holder=Tally(failures_max=30, window_s=10 * MINUTE_S)),
        "office_reveal": Limits(holder=Tally(failures_max=100, window_s=DAY_S)),
        # Codes shown to a shop have 160 random bits; a terminal that reads hundreds of wrong ones
        # is broken, or is not a terminal.
        "code": Limits(holder=Tally(failures_max=200, window_s=10 * MINUTE_S)),
    }
)
"""Every kind of secret that can be guessed. Kinds have separate counters."""


class Subjects(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a try is counted for, as keyed hashes; made by :func:`subjects_of`."""

    account: bytes | None = None
    device: bytes | None = None
    address_range: bytes | None = None
    value: bytes | None = None
    everywhere: bytes


def subjects_of(
    *,
    pepper: bytes,
    account: str | None = None,
    device_id: UUID | None = None,
    address: str | None = None,
    value: str | None = None,
) -> Subjects:
    """Return whom a try is counted for.

    ``account`` is the name that was typed or the id it belongs to, whether it exists or not.
    ``device_id`` only for a device that has just proved its key and belongs to that very account.
    ``address`` is the caller's as the outermost proxy saw it, ``value`` the PIN that was guessed.
    """
    range_name = None if address is None else address_range(address)
    return Subjects(
        account=None if account is None else _hashed("account", account, pepper),
        device=None if device_id is None else _hashed("device", device_id.hex, pepper),
        address_range=None if range_name is None else _hashed("range", range_name, pepper),
        value=None if value is None else _hashed("value", value, pepper),
        everywhere=_hashed("everywhere", "", pepper),
    )


def address_range(address: str) -> str | None:
    """Return the /24 (IPv4) or /56 (IPv6) that an address is in, None when it is no address.

    IPv4 written as IPv6 (``::ffff:192.0.2.1``) counts as what it is.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = parsed.ipv4_mapped or parsed
    bits = _IPV6_RANGE_BITS if isinstance(parsed, ipaddress.IPv6Address) else _IPV4_RANGE_BITS
    return str(ipaddress.ip_network((parsed, bits), strict=False))


async def allow(
    connection: AsyncConnection, *, kind: str, subjects: Subjects, now_us: int
) -> Refusal | None:
    """Count a try as failed and return None, or say that no more are taken for now.

    Every try that was allowed ends in :func:`succeed` or :func:`fail`, and the transaction is
    committed **whatever the answer**: a try that is rolled back was never counted. Parallel tries
    on one account wait for each other here, and at most as many pass as the ladder leaves open.

    Refuses with ``too_many_tries`` and ``retry_after_s``. Raises ValueError for a kind that needs
    to know whose secret is guessed when the subjects do not say it.
    """
    opens_us = await _look(connection, kind, subjects, now_us)
    ladder = LIMITS[kind].ladder
    if opens_us is None and ladder is not None:
        owner = _owner(kind, subjects)
        if not await _take(connection, kind, owner, ladder, now_us):  # The last try went meanwhile.
            opens_us = await _look(connection, kind, subjects, now_us) or now_us
    if opens_us is None:
        return None
    retry_after_s = min(max(math.ceil((opens_us - now_us) / MICROSECONDS), 1), DAY_S)
    return Refusal("too_many_tries", {"retry_after_s": retry_after_s})


async def succeed(
    connection: AsyncConnection, *, kind: str, subjects: Subjects, now_us: int
) -> None:
    """Give the try back: it was right.

    A device's counter begins anew. An account's only gets this one try back, since strangers share
    it: whoever signs in every day must not open ten more tries for a guesser each time. So does a
    device's where the guesser could be right whenever they like (:class:`Limits`).
    """
    limits = LIMITS[kind]
    if limits.ladder is None:
        return
    values: dict[str, Any] = {"kind": kind, "subject": _owner(kind, subjects)}
    if subjects.device is None or not limits.begins_anew:
        await connection.execute(_GIVE_BACK, {**values, "now": to_datetime(now_us)})
    else:
        await connection.execute(_FORGET, {**values, "until": None})


async def fail(connection: AsyncConnection, *, kind: str, subjects: Subjects, now_us: int) -> None:
    """Leave the try counted, and count it for who guesses too.

    Call it last in the transaction: the city's counter is one row, and who holds it makes every
    other failure wait.
    """
    tallies = _tallies(kind, subjects)
    if not tallies:
        return
    await connection.execute(
        _TALLY,
        {
            "kind": kind,
            "subjects": [subject for subject, _ in tallies],
            "windows_s": [tally.window_s for _, tally in tallies],
            "now": to_datetime(now_us),
        },
    )


async def forget(connection: AsyncConnection, *, kind: str, subjects: Subjects) -> None:
    """Open the account's and the device's counters again: the secret has been set anew."""
    for subject in (subjects.account, subjects.device):
        if subject is not None:
            values = {"kind": kind, "subject": subject, "until": None}
            await connection.execute(_FORGET, values)


async def sweep(connection: AsyncConnection, *, now_us: int) -> int:
    """Remove counters that no longer mean anything, at most :data:`SWEPT_AT_ONCE_MAX`."""
    values = {"now": to_datetime(now_us), "most": SWEPT_AT_ONCE_MAX}
    return (await connection.execute(_SWEEP, values)).rowcount


def _owner(kind: str, subjects: Subjects) -> bytes:
    """Return the one counter of whose secret it is: the known device's own, else the account's."""
    owner = subjects.device or subjects.account
    if owner is None:
        message = f"tries of {kind} are counted for an account or a device; neither is known"
        raise ValueError(message)
    return owner


def _tallies(kind: str, subjects: Subjects) -> list[tuple[bytes, Tally]]:
    """Return the tallies that concern the subjects, in one order for everybody who locks them."""
    limits, stranger = LIMITS[kind], subjects.device is None
    pairs = (
        (subjects.account, limits.holder),
        (subjects.value, limits.value),
        (subjects.address_range, limits.address_range if stranger else None),
        (subjects.everywhere, limits.everywhere if stranger else None),
    )
    concerned = [
        (subject, tally) for subject, tally in pairs if subject is not None and tally is not None
    ]
    return sorted(concerned, key=itemgetter(0))


async def _look(
    connection: AsyncConnection, kind: str, subjects: Subjects, now_us: int
) -> int | None:
    """Return when the last of the closed counters opens, None when all are open.

    An owner's counter whose time is over is removed on the way.
    """
    limits: dict[bytes, Ladder | Tally] = dict(_tallies(kind, subjects))
    if (ladder := LIMITS[kind].ladder) is not None:
        limits[_owner(kind, subjects)] = ladder
    now = to_datetime(now_us)
    rows = await connection.execute(_COUNTERS, {"kind": kind, "subjects": list(limits)})
    opens: list[datetime] = []
    for row in rows.all():
        limit = limits[row.subject]
        if isinstance(limit, Tally):
            if row.failures >= limit.failures_max and row.forget_at > now:
                opens.append(row.forget_at)
        elif row.closed_until > now:
            opens.append(row.closed_until)
        elif row.forget_at <= now:
            values = {"kind": kind, "subject": row.subject, "until": now}
            await connection.execute(_FORGET, values)
    return to_microseconds(max(opens)) if opens else None


async def _take(
    connection: AsyncConnection, kind: str, owner: bytes, ladder: Ladder, now_us: int
) -> bool:
    """Count one failure of the owner's; False when the counter is closed."""
    pauses_s = ladder.pauses_s()
    values: dict[str, Any] = {
        "kind": kind,
        "subject": owner,
        "pauses_s": pauses_s,
        "rungs": len(pauses_s),
        "forget_s": ladder.forget_s,
        "now": to_datetime(now_us),
    }
    return (await connection.execute(_TAKE, values)).rowcount == 1


def _hashed(sort: str, name: str, pepper: bytes) -> bytes:
    return hashlib.blake2b(
        f"{sort} {name}".encode("utf-8", "replace"),
        key=pepper,
        digest_size=_SUBJECT_BYTES,
        person=b"guess limits",
    ).digest()
