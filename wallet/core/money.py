"""Money is a Python ``int`` of whole yen; this module holds the few words around it."""

from typing import Final

CURRENCY: Final = "JPY"

LEDGER_JPY: Final = 392
"""Ledger number of all yen accounts: the ISO 4217 numeric code. No transfer crosses ledgers."""

AMOUNT_YEN_MAX: Final = 2**63 - 1
"""The largest amount a ledger column holds; requests are bounded far below it."""


def format_yen(amount_yen: int) -> str:
    """Return ``1,200円``."""
    return f"{amount_yen:,}円"
