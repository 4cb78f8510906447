"""The pure part of benefits: what a row of a roster must say, and what can still be taken back.

Codes of what is wrong with a row are stable, and :data:`WRONG_WITH_A_ROW` says each to a clerk.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Final
from uuid import UUID

import msgspec

from wallet.core.ids import parse_public_id
from wallet.core.my_number import is_my_number

COLUMNS: Final = (
    "programme_id",
    "beneficiary_ref",
    "name_kana",
    "birthdate",
    "amount",
    "reason_code",
    "guardian_ref",
    "delivery",
    "contact_flag",
)
"""A roster's columns; their order does not matter, and no other is taken."""

MUST_BE_FILLED: Final = frozenset({"beneficiary_ref", "birthdate", "amount", "reason_code"})

ROWS_MAX: Final = 200_000
PER_HEAD_MAX_YEN: Final = 1_000_000
"""The bound of one row: beyond it, a zero too many is likelier than a benefit."""

PERIOD_FORMAT: Final = re.compile(r"[0-9A-Za-z-]{1,32}")

CLAIM_TRIES: Final = 5
"""A letter's code is dead after so many wrong birthdays."""

CODE_ALPHABET: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
CODE_CHARACTERS: Final = 12
"""60 random bits, typed from a letter."""

DELIVERIES: Final = frozenset({"wallet", "card", "paper", "bank"})
PROTECTED: Final = "protected"
GONE: Final = frozenset({"deceased", "moved"})
"""Marks of people who are entitled to nothing any more."""

CLAW_BACK_REASONS: Final = ("overpaid", "not_entitled", "duplicate", "deceased", "moved")

_REF: Final = re.compile(r"[0-9A-Za-z_-]{4,64}")
_TWELVE_DIGITS: Final = re.compile(r"[0-9]{12}")
_REASON: Final = re.compile(r"[0-9A-Za-z_-]{1,32}")
_DATE: Final = re.compile(r"([0-9]{4})[-/]?([0-9]{2})[-/]?([0-9]{2})")
_AMOUNT: Final = re.compile(r"[0-9]{1,9}")
_KANA: Final = re.compile(r"[ァ-ヴー・ 　]{1,80}")
_BORN_FROM: Final = date(1880, 1, 1)
_CODE_PUNCTUATION: Final = str.maketrans("", "", " -ー−‐–")

WRONG_WITH_A_ROW: Final[Mapping[str, str]] = MappingProxyType(
    {
        "missing": "記入がありません",
        "programme_other": "この給付の制度コードではありません",
        "ref_invalid": "受給者番号は半角英数字・ハイフン・下線の4〜64文字で記入してください",
        "my_number": "マイナンバーと思われる番号は登録できません。変換した宛名番号を使ってください",
        "kana_invalid": "氏名カナは全角カタカナ80文字までで記入してください",
        "date_invalid": "生年月日は 2026-10-01 の形で、実在する日を記入してください",
        "amount_invalid": "金額は円の整数で、区切りを入れずに記入してください",
        "amount_out_of_bounds": f"金額は1円から{PER_HEAD_MAX_YEN:,}円までです",
        "reason_invalid": "事由コードは半角英数字32文字までで記入してください",
        "delivery_unknown": "受取方法は wallet・card・paper・bank のどれかです",
        "contact_flag_unknown": "連絡区分は空欄・protected・deceased・moved のどれかです",
        "beneficiary_gone": "死亡または転出のため、対象外としました",
        "duplicate_in_file": "同じ受給者が、この名簿の前の行にあります",
        "duplicate_across_runs": "同じ受給者に、この期間の給付がすでにあります",
        "wallet_unknown": "このウォレットはありません",
    }
)


class RowError(msgspec.Struct, frozen=True, gc=False):
    """Why a row was left out: its number as a spreadsheet counts, the column, a stable code."""

    row_number: int
    field: str
    code: str


class RosterRow(msgspec.Struct, frozen=True, gc=False):
    """A row that can be accepted. The name has been looked at and is not kept."""

    row_number: int
    beneficiary_ref: str
    birthdate: date
    amount_yen: int
    reason_code: str
    guardian_ref: str | None
    delivery: str
    protected: bool

    @property
    def wallet_id(self) -> UUID | None:
        """The wallet that the row names itself, by its public id."""
        return parse_public_id("wal", self.beneficiary_ref)


class Granted(msgspec.Struct, frozen=True, gc=False):
    """A grant that was paid into a purse, and what of it has been taken back."""

    id: UUID
    amount_yen: int
    returned_yen: int

    @property
    def left_yen(self) -> int:
        """What of it is or was the holder's to spend."""
        return self.amount_yen - self.returned_yen


def plain(text: str) -> str:
    """Return a cell as it is compared: full-width digits and letters as plain ones, no blanks."""
    return unicodedata.normalize("NFKC", text).strip()


def read_row(
    row_number: int, cells: Mapping[str, str], *, programme: str, day: date
) -> RosterRow | list[RowError]:
    """Return what a row says, or everything that is wrong with it.

    ``programme`` is the code of the run's programme, which a row may leave out; ``day`` is today,
    after which nobody was born.
    """
    values = {name: plain(cells.get(name, "")) for name in COLUMNS}
    faults = {name: "missing" for name in sorted(MUST_BE_FILLED) if not values[name]}
    born = _read_date(values["birthdate"])
    if born is None or not _BORN_FROM <= born <= day:
        faults.setdefault("birthdate", "date_invalid")
    faults = _faults_of(values, programme) | faults
    amount_yen = int(values["amount"]) if _AMOUNT.fullmatch(values["amount"]) else 0
    if "amount" not in faults and not 1 <= amount_yen <= PER_HEAD_MAX_YEN:
        faults["amount"] = "amount_out_of_bounds"
    if faults or born is None:
        return [RowError(row_number, name, faults[name]) for name in COLUMNS if name in faults]
    return RosterRow(
        row_number,
        values["beneficiary_ref"],
        born,
        amount_yen,
        values["reason_code"],
        values["guardian_ref"] or None,
        values["delivery"] or "wallet",
        values["contact_flag"] == PROTECTED,
    )


def _faults_of(values: Mapping[str, str], programme: str) -> dict[str, str]:
    """Return what is wrong with the cells whose form is all there is to say of them."""
    flag = values["contact_flag"]
    found = {
        "programme_id": values["programme_id"] not in {"", programme} and "programme_other",
        "beneficiary_ref": _ref_fault(values["beneficiary_ref"]),
        "name_kana": values["name_kana"]
        and not _KANA.fullmatch(values["name_kana"])
        and "kana_invalid",
        "amount": not _AMOUNT.fullmatch(values["amount"]) and "amount_invalid",
        "reason_code": not _REASON.fullmatch(values["reason_code"]) and "reason_invalid",
        "guardian_ref": values["guardian_ref"] and _ref_fault(values["guardian_ref"]),
        "delivery": (values["delivery"] or "wallet") not in DELIVERIES and "delivery_unknown",
        "contact_flag": (flag in GONE and "beneficiary_gone")
        or (flag not in {"", PROTECTED} and "contact_flag_unknown"),
    }
    return {name: code for name, code in found.items() if code}


def is_ref(ref: str) -> bool:
    """Whether a reference is one that a roster may name."""
    return _ref_fault(ref) is None


def _ref_fault(ref: str) -> str | None:
    # Only as a whole: a hash in hexadecimal has twelve digits in a row now and then.
    digits = ref.replace("-", "").replace("_", "")
    if _TWELVE_DIGITS.fullmatch(digits) and is_my_number(digits):
        return "my_number"
    return None if _REF.fullmatch(ref) else "ref_invalid"


def _read_date(text: str) -> date | None:
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    try:
        return date(*(int(part) for part in found.groups()))
    except ValueError:
        return None


def leave_out_repeats(
    rows: Sequence[RosterRow],
) -> tuple[list[RosterRow], list[RowError]]:
    """Return the first row of each beneficiary, and the others as errors."""
    first: dict[str, RosterRow] = {}
    errors = [
        RowError(row.row_number, "beneficiary_ref", "duplicate_in_file")
        for row in rows
        if first.setdefault(row.beneficiary_ref, row) is not row
    ]
    return list(first.values()), errors


def read_claim_code(text: str) -> str | None:
    """Return the characters of a letter's code however it was typed, None when it is none."""
    code = unicodedata.normalize("NFKC", text).upper().translate(_CODE_PUNCTUATION)
    is_one = len(code) == CODE_CHARACTERS and set(code) <= set(CODE_ALPHABET)
    return code if is_one else None


def written_code(code: str) -> str:
    """Return a code as a letter shows it: ``K7M2-3PQR-9XYZ``."""
    return "-".join(code[start : start + 4] for start in range(0, CODE_CHARACTERS, 4))


def unspent_yen(grants: Sequence[Granted], grant_id: UUID, *, available_yen: int) -> int:
    """Return what of a grant is still unspent in the purse it went to.

    ``grants`` are all that went into that purse, the oldest first, and it holds ``available_yen``
    that no payment has set aside. Money of one purse is spent in the order it came, so what is
    left belongs to the newest grants first; of an older one is left what they do not account for.
    """
    left_yen = available_yen
    for grant in reversed(grants):
        own_yen = min(max(left_yen, 0), grant.left_yen)
        if grant.id == grant_id:
            return own_yen
        left_yen -= own_yen
    return 0
