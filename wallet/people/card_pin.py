"""The PIN of a card: six digits that come with it in the post, and prove that it arrived.

What is kept is a MAC under a key of ours over the card and the digits, as for the app's PIN; what
guards it is the counter of wrong tries, which no number of parallel tries gets past.
"""

import hmac
import secrets
from hashlib import blake2b
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.auth.guess_limits import allow, fail, subjects_of, succeed
from wallet.auth.pin import is_pin, is_weak
from wallet.core.ids import keyed_hash
from wallet.core.refusals import Refusal
from wallet.core.sealing import derived_key
from wallet.people.rules import read_printed_number

WRONG: Final = Refusal("card_pin_wrong")
"""The one answer to a wrong PIN, to a number that no card bears, and to a card that is void."""

_MAC_BYTES: Final = 32
_DIGITS: Final = 6

# A card that has not left the house yet is nobody's to try.
_FIND: Final = text("""
SELECT id, printed_number, wallet_id, pin_mac, state FROM blank_card
WHERE (printed_number = :number OR number_hash = :number_hash) AND state IN ('shipped', 'activated')
FOR NO KEY UPDATE
""")


class Shown(msgspec.Struct, frozen=True):
    """A card whose PIN was right: for whom it was printed or whose it is, and whether it pays."""

    id: UUID
    wallet_id: UUID | None
    is_active: bool


def draw_pin() -> str:
    """Return six random digits that are not among the first that a thief would try."""
    while True:
        pin = f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}}"
        if not is_weak(pin, known=()):
            return pin


def pin_mac(card_id: UUID, pin: str, *, pepper: bytes) -> bytes:
    """Return what is kept of a card's PIN."""
    key = derived_key(purpose="card pin", pepper=pepper)
    message = card_id.bytes + pin.encode("ascii")
    return blake2b(message, key=key, digest_size=_MAC_BYTES).digest()


async def check_card_pin(
    connection: AsyncConnection,
    *,
    shown: str,
    pin: str,
    pepper: bytes,
    now_us: int,
) -> Shown | Refusal:
    """Return the card, locked, whose number or QR value was shown with its PIN.

    Tries are counted for the card, whether it exists or not, and for the PIN. Refuses with
    :data:`WRONG` and ``too_many_tries``; commit whatever the answer is.
    """
    number = read_printed_number(shown)
    values = {"number": number, "number_hash": keyed_hash(shown, pepper=pepper)}
    found = (await connection.execute(_FIND, values)).one_or_none()
    name = (number or shown) if found is None else found.printed_number
    subjects = subjects_of(pepper=pepper, account=f"card {name}", value=pin)
    refusal = await allow(connection, kind="card_pin", subjects=subjects, now_us=now_us)
    if refusal is not None:
        return refusal
    digits = pin if is_pin(pin) else ""
    mac = pin_mac(UUID(int=0) if found is None else found.id, digits, pepper=pepper)
    kept = bytes(_MAC_BYTES) if found is None else found.pin_mac
    if found is None or not hmac.compare_digest(mac, kept):
        await fail(connection, kind="card_pin", subjects=subjects, now_us=now_us)
        return WRONG
    await succeed(connection, kind="card_pin", subjects=subjects, now_us=now_us)
    return Shown(found.id, found.wallet_id, found.state == "activated")
