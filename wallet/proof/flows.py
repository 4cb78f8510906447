"""Which kinds of accounts each kind of transfer may lead between, and under whose name.

The chart of accounts (wallet/ledger/chart.py) says in words what a transfer is; here it is data, so
that a transfer which says one thing and does another is found. Whatever is not listed is found too:
a new kind of transfer says here where it may lead before it can be booked and the proof be green.
"""

from collections.abc import Sequence
from typing import Final

from wallet.ledger import chart

_PURSE: Final = chart.ACCOUNT_PURSE
_CLEARING: Final = chart.ACCOUNT_CLEARING
_BUDGET: Final = chart.ACCOUNT_BUDGET
_RESERVE: Final = chart.ACCOUNT_BONUS_RESERVE
_PAYABLE: Final = chart.ACCOUNT_PAYABLE
_RECEIPTS: Final = chart.ACCOUNT_RECEIPTS
_SUSPENSE: Final = chart.ACCOUNT_SUSPENSE

FLOWS: Final[Sequence[tuple[int, int, int]]] = (
    (chart.TRANSFER_PAYMENT, _PURSE, _PAYABLE),
    (chart.TRANSFER_REFUND, _PAYABLE, _PURSE),
    # What came out of a purse whose last day is over, where the programme says so.
    (chart.TRANSFER_REFUND, _PAYABLE, _BUDGET),
    (chart.TRANSFER_COUPON, _BUDGET, _PAYABLE),
    # The payment that it took something off was given back.
    (chart.TRANSFER_COUPON, _PAYABLE, _BUDGET),
    (chart.TRANSFER_SHOP_TO_SHOP, _PAYABLE, _PAYABLE),
    (chart.TRANSFER_ISSUE, _CLEARING, _PURSE),
    (chart.TRANSFER_ISSUE, _BUDGET, _PURSE),
    (chart.TRANSFER_BONUS, _BUDGET, _PURSE),
    (chart.TRANSFER_BONUS, _RESERVE, _PURSE),
    (chart.TRANSFER_BONUS_RESERVED, _BUDGET, _RESERVE),
    (chart.TRANSFER_BONUS_REVERSED, _PURSE, _BUDGET),
    (chart.TRANSFER_BONUS_REVERSED, _RESERVE, _BUDGET),
    (chart.TRANSFER_GRANT, _BUDGET, _PURSE),
    (chart.TRANSFER_CLAW_BACK, _PURSE, _BUDGET),
    (chart.TRANSFER_GIFT, _PURSE, _PURSE),
    (chart.TRANSFER_EXCHANGE, _PURSE, _CLEARING),
    (chart.TRANSFER_EXCHANGE, _PURSE, _BUDGET),
    (chart.TRANSFER_EXCHANGE, _CLEARING, _PURSE),
    (chart.TRANSFER_EXCHANGE, _BUDGET, _PURSE),
    (chart.TRANSFER_MOVE, _PURSE, _PURSE),
    (chart.TRANSFER_FUNDING, chart.ACCOUNT_FUNDING, _BUDGET),
    (chart.TRANSFER_RECEIPT, _RECEIPTS, _CLEARING),
    (chart.TRANSFER_SUSPENDED, _RECEIPTS, _SUSPENSE),
    (chart.TRANSFER_SUSPENSE_SETTLED, _SUSPENSE, _CLEARING),
    (chart.TRANSFER_SUSPENSE_SETTLED, _SUSPENSE, _RECEIPTS),
    (chart.TRANSFER_EXPIRY, _PURSE, _BUDGET),
    (chart.TRANSFER_BUYER_REFUND, _PURSE, _CLEARING),
    (chart.TRANSFER_BUYER_REFUND, _PURSE, _BUDGET),
    (chart.TRANSFER_CASH_OUT, _PAYABLE, chart.ACCOUNT_CASH_OUT),
)
"""(kind of transfer, kind of account it leaves, kind of account it reaches)."""

LOOKED_INTO: Final = frozenset(kind for _, *kinds in FLOWS for kind in kinds) - {
    chart.ACCOUNT_FUNDING
}
"""Kinds of accounts whose every transfer must be one of the flows."""

PROGRAMMES_OWN: Final = frozenset({_PURSE, _CLEARING, _BUDGET, _RESERVE})
"""Kinds of accounts that are a programme's, and bear its number as their transfers do."""

FOR_A_WALLET: Final = frozenset(
    {
        chart.TRANSFER_ISSUE,
        chart.TRANSFER_GRANT,
        chart.TRANSFER_CLAW_BACK,
        chart.TRANSFER_GIFT,
        chart.TRANSFER_EXCHANGE,
        chart.TRANSFER_MOVE,
        chart.TRANSFER_EXPIRY,
        chart.TRANSFER_BUYER_REFUND,
    }
)
"""Kinds of transfers that name a wallet, one of those whose purses they lead between."""


def listed(values: frozenset[int]) -> str:
    """Return numbers of the chart as a part of SQL."""
    return ", ".join(str(value) for value in sorted(values))


def flows_as_values() -> str:
    """Return the flows as rows of a VALUES list in SQL."""
    return ", ".join(f"({code}, {left}, {reached})" for code, left, reached in FLOWS)
