"""How payment providers and we know each other: signatures of what they report, and of our orders.

Reports are signed as Standard Webhooks 1.0.0 says: HMAC-SHA256 over ``id.timestamp.body``, good
for five minutes, and a report may carry several signatures while a key is changed. A card's page
is opened by the phone with an order that we have signed the same way, so nobody changes an amount
on the way. Each provider has a key of its own, drawn from the installation's pepper.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Final

import msgspec

from wallet.core.clock import MICROSECONDS, to_microseconds
from wallet.core.sealing import derived_key
from wallet.receipts.request_payment import PaymentSlip
from wallet.receipts.rules import Method

TOLERANCE_S: Final = 300
"""How old a report's signature may be, or how far ahead its clock."""

_AUTHENTICATED: Final = frozenset({"Y", "A"})
"""EMV 3-D Secure: the holder was authenticated, or the attempt is vouched for by the scheme."""

_TOLD_AS: Final = "v1,"
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Yen = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A report as it came in: what was signed, and the header with the signatures."""

    message_id: str
    timestamp: str
    signatures: str
    body: bytes


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider has said: ``reference`` was paid; ``card`` tells one card from another."""

    provider: Method
    event: str
    reference: str
    amount_yen: int
    received_us: int
    authenticated: bool = False
    card: str | None = None


class _StoreReport(msgspec.Struct, frozen=True):
    """The 速報 of a convenience store's collector: a slip was paid at a till."""

    event_id: _Id
    slip_number: _Id
    amount_yen: _Yen
    paid_at: datetime


class _CardReport(msgspec.Struct, frozen=True):
    """A card gateway: an order was charged, and what 3-D Secure had said (EMV ``transStatus``)."""

    event_id: _Id
    order_reference: _Id
    amount_yen: _Yen
    charged_at: datetime
    trans_status: str
    card_fingerprint: _Id


class _BankReport(msgspec.Struct, frozen=True):
    """A bank's notice of an incoming transfer; the payer's name stays with the bank."""

    event_id: _Id
    transfer_reference: Annotated[str, msgspec.Meta(max_length=128)]
    amount_yen: _Yen
    credited_at: datetime


def provider_key(provider: Method, *, pepper: bytes) -> bytes:
    """Return the 32-byte key that we share with a provider."""
    return derived_key(purpose=f"payment provider {provider}", pepper=pepper)


def sign(key: bytes, *, message_id: str, timestamp: str, body: bytes) -> str:
    """Return a signature as it stands in the header ``webhook-signature``."""
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    mac = hmac.digest(key, signed, hashlib.sha256)
    return _TOLD_AS + base64.b64encode(mac).decode()


def is_signed(report: Signed, *, key: bytes, now_us: int) -> bool:
    """Whether a report is the provider's, unchanged, and of these five minutes."""
    if not (report.timestamp.isascii() and report.timestamp.isdecimal()):
        return False
    age_s = now_us // MICROSECONDS - int(report.timestamp[:12])
    if abs(age_s) > TOLERANCE_S:
        return False
    expected = sign(
        key, message_id=report.message_id, timestamp=report.timestamp, body=report.body
    ).encode()
    given = report.signatures.split(" ")
    return any(hmac.compare_digest(one.encode("utf-8", "replace"), expected) for one in given)


def read_report(provider: Method, body: bytes) -> Report:
    """Return what a report says; raises :class:`msgspec.DecodeError` or ValueError for no report.

    A moment without its offset from UTC is none.
    """
    report = _READERS[provider](body)
    if report.received_us <= 0:
        message = "a moment before there were providers"
        raise ValueError(message)
    return report


def page_order(slip: PaymentSlip, *, pepper: bytes) -> str:
    """Return an order as a card's page takes it from the phone, signed by us."""
    payload = msgspec.json.encode(
        {
            "order_reference": slip.reference,
            "amount_yen": slip.amount_yen,
            "expires_at_s": slip.expires_us // MICROSECONDS,
        }
    )
    key = provider_key(slip.method, pepper=pepper)
    mac = hmac.digest(key, b"order." + payload, hashlib.sha256)
    return f"{_text(payload)}.{_text(mac)}"


def read_page_order(text: str, *, key: bytes) -> dict[str, int | str] | None:
    """Return what a signed order says, None when it is not ours; this is the provider's side."""
    payload_text, _, mac_text = text.partition(".")
    try:
        payload, mac = (
            base64.urlsafe_b64decode(one + "=" * (-len(one) % 4))
            for one in (payload_text, mac_text)
        )
    except ValueError:
        return None
    if not hmac.compare_digest(mac, hmac.digest(key, b"order." + payload, hashlib.sha256)):
        return None
    decoded: dict[str, int | str] = msgspec.json.decode(payload)
    return decoded


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _moment(moment: datetime) -> int:
    if moment.tzinfo is None:
        message = "a moment without its offset"
        raise ValueError(message)
    return to_microseconds(moment)


def _read_store(body: bytes) -> Report:
    told = msgspec.json.decode(body, type=_StoreReport)
    return Report(
        provider=Method.CONVENIENCE,
        event=told.event_id,
        reference=told.slip_number,
        amount_yen=told.amount_yen,
        received_us=_moment(told.paid_at),
    )


def _read_card(body: bytes) -> Report:
    told = msgspec.json.decode(body, type=_CardReport)
    return Report(
        provider=Method.CARD,
        event=told.event_id,
        reference=told.order_reference,
        amount_yen=told.amount_yen,
        received_us=_moment(told.charged_at),
        authenticated=told.trans_status in _AUTHENTICATED,
        card=told.card_fingerprint,
    )


def _read_bank(body: bytes) -> Report:
    told = msgspec.json.decode(body, type=_BankReport)
    return Report(
        provider=Method.BANK,
        event=told.event_id,
        reference=told.transfer_reference,
        amount_yen=told.amount_yen,
        received_us=_moment(told.credited_at),
    )


_READERS: Final[Mapping[Method, Callable[[bytes], Report]]] = MappingProxyType(
    {Method.CONVENIENCE: _read_store, Method.CARD: _read_card, Method.BANK: _read_bank}
)
