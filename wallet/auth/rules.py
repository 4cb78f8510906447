"""The pure part of auth: which level follows from what was shown, and what an operation asks for.

A level (``acr`` in RFC 9470) follows from the set of distinct classes that were shown and from
how long ago; never from what the account could show, nor from what it showed once upon a time.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import msgspec
import rfc8785

from wallet.core.clock import MICROSECONDS
from wallet.core.refusals import Refusal


class FactorClass(StrEnum):
    """What a factor rests on: two factors are two classes, never one class twice."""

    KNOWLEDGE = "knowledge"
    POSSESSION = "possession"
    INHERENCE = "inherence"
    PROOFING = "proofing"


class Method(StrEnum):
    """How a class was shown. A visit to the counter with a document is a method like others."""

    DEVICE_KEY = "device_key"
    VERIFIED_KEY = "verified_key"
    PIN = "pin"
    PASSWORD = "password"  # noqa: S105 - the name of a method
    TOTP = "totp"
    PASSKEY = "passkey"
    RECOVERY_CODE = "recovery_code"
    IDENTITY_APP = "identity_app"
    COUNTER = "counter"


class Acr(StrEnum):
    """A level. ``pin`` and ``otp`` are equals that do not stand in for each other."""

    DEV = "dev"
    PIN = "pin"
    OTP = "otp"
    PHR = "phr"
    JPKI = "jpki"


CLASSES_OF: Final[Mapping[Method, tuple[FactorClass, ...]]] = MappingProxyType(
    {
        Method.DEVICE_KEY: (FactorClass.POSSESSION,),
        # The phone releases it to a finger or a face; the device key beside it is the possession.
        Method.VERIFIED_KEY: (FactorClass.INHERENCE,),
        Method.PIN: (FactorClass.KNOWLEDGE,),
        Method.PASSWORD: (FactorClass.KNOWLEDGE,),
        Method.TOTP: (FactorClass.POSSESSION,),
        # User verification is always required of a passkey, so it is two classes by itself.
        Method.PASSKEY: (FactorClass.POSSESSION, FactorClass.INHERENCE),
        Method.RECOVERY_CODE: (FactorClass.POSSESSION,),
        Method.IDENTITY_APP: (FactorClass.PROOFING,),
        Method.COUNTER: (FactorClass.PROOFING,),
    }
)

INCLUDED: Final[Mapping[Acr, frozenset[Acr]]] = MappingProxyType(
    {
        Acr.DEV: frozenset({Acr.DEV}),
        Acr.PIN: frozenset({Acr.DEV, Acr.PIN}),
        Acr.OTP: frozenset({Acr.DEV, Acr.OTP}),
        Acr.PHR: frozenset({Acr.DEV, Acr.PIN, Acr.OTP, Acr.PHR}),
        Acr.JPKI: frozenset(Acr),
    }
)
"""Each level with those it stands in for."""

_EXACT: Final = 2**53
"""Whole numbers below it are the same to every reader of JSON."""

_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode

_SECOND_CLASSES: Final = frozenset({FactorClass.KNOWLEDGE, FactorClass.INHERENCE})


class Shown(msgspec.Struct, frozen=True, rename={"factor_class": "class", "at_us": "at"}):
    """One class, shown by a method at a moment (microseconds since the epoch)."""

    factor_class: FactorClass
    method: Method
    at_us: int


def show(*methods: Method, at_us: int) -> tuple[Shown, ...]:
    """Return what the methods show at one moment."""
    return tuple(
        Shown(factor_class, method, at_us)
        for method in methods
        for factor_class in CLASSES_OF[method]
    )


def merge(earlier: Iterable[Shown], later: Iterable[Shown]) -> tuple[Shown, ...]:
    """Return both with each method once, as it was shown last; so a session's list stays short."""
    latest: dict[tuple[FactorClass, Method], Shown] = {}
    for one in sorted((*earlier, *later), key=lambda one: one.at_us):
        latest[one.factor_class, one.method] = one
    return tuple(latest.values())


def reached(shown: Iterable[Shown], *, now_us: int, max_age_s: int) -> frozenset[Acr]:
    """Return every level that what was shown within ``max_age_s`` reaches, none if it is too old.

    A recovery code opens an account again and raises nothing. One class by itself, such as a
    password or a TOTP, is no level; it becomes one beside a second class.
    """
    oldest_us = now_us - max_age_s * MICROSECONDS
    fresh = [s for s in shown if s.at_us >= oldest_us and s.method is not Method.RECOVERY_CODE]
    methods = {s.method for s in fresh}
    classes = {s.factor_class for s in fresh}
    levels: set[Acr] = set()
    if FactorClass.PROOFING in classes:
        levels.add(Acr.JPKI)
    if Method.PASSKEY in methods:
        levels.add(Acr.PHR)
    if Method.DEVICE_KEY in methods:
        levels.add(Acr.PIN if classes & _SECOND_CLASSES else Acr.DEV)
    if Method.TOTP in methods and classes & _SECOND_CLASSES:
        levels.add(Acr.OTP)
    return frozenset().union(*(INCLUDED[level] for level in levels))


def strongest(levels: Collection[Acr]) -> Acr | None:
    """Return the level that stands in for most others, ``pin`` before its equal ``otp``."""
    return max(levels, key=lambda level: (len(INCLUDED[level]), level is Acr.PIN), default=None)


def satisfies(levels: Collection[Acr], require: Collection[Acr]) -> bool:
    """Whether one of the levels is among those required. Nothing satisfies an empty requirement."""
    return not frozenset(levels).isdisjoint(require)


class Operation(StrEnum):
    """What somebody wants to do, as far as the step-up table tells operations apart."""

    SHOP = "shop"
    GIFT = "gift"
    GIFT_NEW_PAYEE = "gift_new_payee"
    CHARGE = "charge"
    SALE = "sale"
    CHANGE_SIGN_IN = "change_sign_in"
    CHANGE_PAYOUT_ACCOUNT = "change_payout_account"
    ADJUST = "adjust"


class Risk(StrEnum):
    """How likely the operation is fraud, in the four columns of the table."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    EXTREME = "extreme"


class Band(StrEnum):
    """Amounts that may go without a prompt while the fraud rate is low enough (90 days)."""

    A = "A"
    B = "B"
    C = "C"


class Measure(StrEnum):
    """What happens beside the outcome."""

    CALL_BACK = "call_back"
    CANCELLABLE = "cancellable"
    COOLING_OFF = "cooling_off"
    COUNTER_HINT = "counter_hint"
    DAILY_10000_YEN = "daily_10000_yen"
    FOUR_EYES = "four_eyes"
    RECEIPT = "receipt"
    REVIEW = "review"
    SCAM_WARNING = "scam_warning"
    SPENDING_ONLY = "spending_only"
    THREE_D_SECURE = "three_d_secure"


class Outcome(StrEnum):
    """What a cell of the table comes to, from the mildest to the strictest."""

    STEP_UP = "step_up"
    HOLD = "hold"
    COUNTER = "counter"
    DENY = "deny"


class Requirement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One cell: what is asked of an operation.

    ``require`` names levels, any of which will do when shown within ``max_age_s`` seconds. With
    ``hold_h`` beside it the operation waits that many hours afterwards; ``hold_h`` alone holds it
    without asking. ``counter`` sends people to the counter, ``deny`` refuses.
    """

    require: tuple[Acr, ...] = ()
    max_age_s: int = 0
    hold_h: int = 0
    counter: bool = False
    deny: bool = False
    measures: tuple[Measure, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The kind of the cell."""
        if self.deny:
            return Outcome.DENY
        if self.counter:
            return Outcome.COUNTER
        return Outcome.STEP_UP if self.require else Outcome.HOLD


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operation up to an amount (yen, inclusive; None is without end) and its four cells."""

    operation: Operation
    low: Requirement
    medium: Requirement
    high: Requirement
    extreme: Requirement
    up_to_yen: int | None = None
    band: Band | None = None

    def cell(self, risk: Risk) -> Requirement:
        """Return the cell of a column."""
        return {
            Risk.LOW: self.low,
            Risk.MEDIUM: self.medium,
            Risk.HIGH: self.high,
            Risk.EXTREME: self.extreme,
        }[risk]


def find_requirement(
    rows: Iterable[Row],
    *,
    operation: Operation,
    amount_yen: int,
    risk: Risk,
    bands_open: Collection[Band],
) -> Requirement:
    """Return what the table asks of an operation.

    The row of a closed band gives way to the one below it, and that one too while it is closed,
    down to the last band's; only the last band's own amounts go beyond. Else a day of much fraud
    would send everybody who buys shoes to the counter. Raises ValueError for a negative amount.
    """
    if amount_yen < 0:
        message = f"an amount is not negative: {amount_yen}"
        raise ValueError(message)
    ladder = [
        row
        for row in rows
        if row.operation is operation and (row.up_to_yen is None or amount_yen <= row.up_to_yen)
    ]
    own, *below = ladder
    if own.band is None or own.band in bands_open or not below:
        return own.cell(risk)
    banded = [row for row in below if row.band is not None]
    chosen = next((row for row in banded if row.band in bands_open), None)
    return (chosen or (banded[-1] if banded else below[0])).cell(risk)


def op_hash(fields: Mapping[str, Any]) -> bytes:
    """Return the SHA-256 of an operation in canonical JSON (RFC 8785).

    A challenge is bound to it: one yen changed is another hash. Raises ValueError for what has no
    canonical form, such as an integer beyond 2^53. Texts and whole numbers under ASCII names, which
    is what operations are made of, have the same form in sorted JSON, forty times as fast.
    """
    written = dict(fields)
    is_plain = all(name.isascii() and _is_plain(value) for name, value in written.items())
    canonical = _encode_sorted(written) if is_plain else rfc8785.dumps(written)
    return hashlib.sha256(canonical).digest()


def _is_plain(value: object) -> bool:
    return type(value) is str or (type(value) is int and -_EXACT < value < _EXACT)


def challenge_of(*, nonce: bytes, op_hash: bytes) -> bytes:
    """Return the 32 bytes that a passkey or a verified key signs."""
    return hashlib.sha256(nonce + op_hash).digest()


class StepUp(msgspec.Struct, frozen=True, gc=False):
    """A challenge as it stands, for whoever decides whether money may move on it.

    The fields with defaults are for whoever looks at an answer first.
    """

    id: UUID
    principal_id: UUID
    op_hash: bytes
    expires_at: datetime
    passed_at: datetime | None
    passed_acr: Acr | None
    consumed_by: UUID | None
    device_id: UUID | None = None
    nonce: bytes = b""
    required: tuple[Acr, ...] = ()
    max_age_s: int = 0
    number_match: str | None = None
    failures: int = 0


def check_step_up(
    step_up: StepUp | None,
    *,
    principal_id: UUID,
    op_hash: bytes,
    requirement: Requirement,
    now: datetime,
) -> Refusal | None:
    """Return why a challenge does not let the operation through, None when it does.

    ``requirement`` is what the operation asks for *now*: the risk may have risen since the
    challenge was made. Whatever is wrong, another challenge may be asked for.
    """
    if step_up is None or step_up.principal_id != principal_id:
        return Refusal("step_up_unknown")
    if step_up.consumed_by is not None:
        return Refusal("step_up_used")
    if step_up.expires_at <= now:
        return Refusal("step_up_expired")
    if step_up.op_hash != op_hash:
        return Refusal("step_up_mismatch")
    return _check_level(step_up, requirement, now)


def _check_level(step_up: StepUp, requirement: Requirement, now: datetime) -> Refusal | None:
    if step_up.passed_at is None or step_up.passed_acr is None:
        return Refusal("step_up_not_passed")
    too_old = now - step_up.passed_at > timedelta(seconds=requirement.max_age_s)
    if too_old or not satisfies(INCLUDED[step_up.passed_acr], requirement.require):
        return Refusal("step_up_insufficient", {"acr_values": list(requirement.require)})
    return None
