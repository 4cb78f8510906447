"""The pure part of people: tiers and ceilings, how contacts are written, numbers on cards."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from wallet.core.my_number import contains_my_number, my_number_check_digit

PAYMENT_LIMIT_YEN: Final = 100_000
DAILY_LIMIT_YEN: Final = 300_000
"""Ceilings of a new wallet; its holder may lower them."""

CARD_PAYMENT_LIMIT_YEN: Final = 3_000
CARD_DAILY_LIMIT_YEN: Final = 30_000
"""Ceilings of a new card: whoever finds it needs no PIN, so what they can take is small."""

PRINTED_DIGITS: Final = 12

SUPPORT_ALPHABET: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""No 0, O, 1 or I, because people read these codes to each other."""

SUPPORT_CHARACTERS: Final = 8


def printed_number(random_number: int) -> str:
    """Return the 12 digits to print for a random number below 10^11.

    The last digit is five off the My Number check digit: a slip of the pen is still found, and no
    card can ever be mistaken for a My Number, by people or by a scrubber of logs.
    """
    first_eleven = f"{random_number:011}"
    return f"{first_eleven}{(my_number_check_digit(first_eleven) + 5) % 10}"


def read_printed_number(text: str) -> str:
    """Return a card's number as it is kept, without the spaces and hyphens it is written with.

    What no card can bear is empty, and finds none.
    """
    digits = text.replace(" ", "").replace("-", "")
    is_one = (
        len(digits) == PRINTED_DIGITS
        and digits.isascii()
        and digits.isdigit()
        and printed_number(int(digits[:-1])) == digits
    )
    return digits if is_one else ""


def grouped(number: str) -> str:
    """Return ``1234 5678 9012``: three groups of four, as people read them out."""
    return " ".join(number[start : start + 4] for start in range(0, PRINTED_DIGITS, 4))


_Yen = Annotated[int, msgspec.Meta(ge=0)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=100)]


class Tier(StrEnum):
    """How well the city knows a person; each knows more than the one before."""

    VISITOR = "T0"
    DEVICE = "T1"
    RESIDENT = "T2"
    COUNTER = "T3"


class TierLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a tier allows, in yen; see ``tiers.toml``."""

    payment_yen: _Yen
    day_yen: _Yen
    balance_yen: _Yen
    gift_day_yen: _Yen

    def amounts(self) -> tuple[int, ...]:
        """Return all ceilings, for comparison with another tier's."""
        return self.payment_yen, self.day_yen, self.balance_yen, self.gift_day_yen


class CoolingOff(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much may be done while a change of sign-in cools off."""

    payment_yen: _Yen


class HelperLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a proxy may spend at most, when it begins, and how many helpers there may be."""

    payment_yen: _Yen
    day_yen: _Yen
    cooling_off_h: _Count
    per_wallet: _Count
    per_helper: _Count


class GuardianLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many guardians a wallet may have, and how many wallets a guardian."""

    per_wallet: _Count
    per_guardian: _Count


class Tiers(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"visitor": "T0", "device": "T1", "resident": "T2", "counter": "T3"},
):
    """The whole policy on tiers, as ``tiers.toml`` has it."""

    visitor: TierLimits
    device: TierLimits
    resident: TierLimits
    counter: TierLimits
    cooling_off: CoolingOff
    helper: HelperLimits
    guardian: GuardianLimits

    def of(self, tier: Tier) -> TierLimits:
        """Return what one tier allows."""
        return {
            Tier.VISITOR: self.visitor,
            Tier.DEVICE: self.device,
            Tier.RESIDENT: self.resident,
            Tier.COUNTER: self.counter,
        }[tier]


class ContactKind(StrEnum):
    """Where a person can be told something. Neither kind proves anything of value."""

    EMAIL = "email"
    PHONE = "phone"


class Contact(msgspec.Struct, frozen=True):
    """A contact as it is written to, and ``key``: the form that two spellings of it share."""

    kind: ContactKind
    value: str
    key: str


_EMAIL: Final = re.compile(
    r"([A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*)@"
    r"((?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9]))"
)
_EMAIL_CHARACTERS_MAX: Final = 254
_LOCAL_CHARACTERS_MAX: Final = 64

# ITU-T E.164: at most 15 digits. Numbers in Japan have 10 or 11 with the leading zero.
_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_DOMESTIC: Final = re.compile(r"0[1-9][0-9]{8,9}")
_PUNCTUATION: Final = str.maketrans("", "", " -()ー−‐–")


def read_contact(kind: ContactKind, text: str) -> Contact | None:
    """Return the contact in ``text`` however it was typed, None when nobody could be reached so.

    Full-width characters count as what they look like. Part of an e-mail address after a plus
    leads to the same mailbox, so it is no other ``key``; nor is an address in capitals. A My
    Number written in either is refused, because the city may not keep one.
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    if kind is ContactKind.EMAIL:
        return _read_email(plain)
    return _read_phone(plain.translate(_PUNCTUATION))


def _read_email(text: str) -> Contact | None:
    local, _, domain = text.rpartition("@")
    value = f"{local}@{domain.lower()}"
    if (
        len(value) > _EMAIL_CHARACTERS_MAX
        or len(local) > _LOCAL_CHARACTERS_MAX
        or not _EMAIL.fullmatch(value)
        or contains_my_number(value)
    ):
        return None
    mailbox = local.lower().partition("+")[0] or local.lower()
    return Contact(ContactKind.EMAIL, value, f"{mailbox}@{domain.lower()}")


def _read_phone(text: str) -> Contact | None:
    number = f"+81{text[1:]}" if _DOMESTIC.fullmatch(text) else text
    if not _PHONE.fullmatch(number):
        return None
    return Contact(ContactKind.PHONE, number, number)


def masked(contact: Contact) -> str:
    """Return the contact for its owner to recognise and for nobody else to use."""
    if contact.kind is ContactKind.PHONE:
        return f"•••{contact.value[-4:]}"
    local, _, domain = contact.value.rpartition("@")
    return f"{local[0]}•••@{domain}"


_POSTAL_CODE: Final = re.compile(r"^\s*〒?\s*[0-9]{3}[-ー−]?[0-9]{4}")


def read_support_code(text: str) -> str | None:
    """Return the eight characters of a support code as it was said or typed, None if it is none."""
    plain = unicodedata.normalize("NFKC", text).upper().translate(_PUNCTUATION)
    is_one = len(plain) == SUPPORT_CHARACTERS and set(plain) <= set(SUPPORT_ALPHABET)
    return plain if is_one else None


def lives_here(address: Mapping[str, str], *, region: str, municipality: str) -> bool:
    """Whether an OpenID Connect address claim (Core 1.0 section 5.1.1) is in the city.

    Providers fill in ``region`` and ``locality``, or only ``formatted``; the city's name must
    follow the prefecture's at once, because other prefectures have places of the same name.
    """
    named = [address.get("region", ""), address.get("locality", "")]
    parts = named if all(named) else [address.get("formatted", "")]
    written = _POSTAL_CODE.sub("", unicodedata.normalize("NFKC", "".join(parts)))
    return re.sub(r"\s", "", written).startswith(region + municipality)


SET_UP_S: Final = 900
"""How long somebody new may set up how they will sign in, on the phone they enrolled with."""


def is_in_set_up(
    *, opened_at: datetime, now: datetime, device_enrolled_at: datetime | None = None
) -> bool:
    """Whether an account is so new that its first factors may be set without an older one.

    Nobody had an account here before, so nobody can lose one. ``device_enrolled_at``, when given,
    must be the very moment of opening: the phone that opened the account, and no later one.
    """
    is_first = device_enrolled_at in {None, opened_at}
    return is_first and now - opened_at < timedelta(seconds=SET_UP_S)
