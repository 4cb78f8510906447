"""The chart of accounts: the numbers by which kinds of accounts and transfers are told apart.

The ledger itself does not look at them; reports, proofs and people do. A number once used is
never given another meaning.
"""

from typing import Final
from uuid import UUID

ACCOUNT_FUNDING: Final = 1
"""Where the city's own money enters: debited by what the city has promised to programmes."""
ACCOUNT_CLEARING: Final = 10
"""Money received from buyers of a programme: debited by what was sold."""
ACCOUNT_BUDGET: Final = 11
"""What the city adds to a programme; never spent beyond what it was funded with."""
ACCOUNT_PURSE: Final = 20
"""What is owed to a wallet's holder, of one programme, funding class and last day."""
ACCOUNT_PAYABLE: Final = 30
"""What is owed to a shop."""

TRANSFER_PAYMENT: Final = 10
"""A purse pays a shop."""
TRANSFER_ISSUE: Final = 20
"""A programme's clearing or budget account fills a purse."""
TRANSFER_FUNDING: Final = 30
"""The city funds a programme's budget."""

FUNDING_ACCOUNT_ID: Final = UUID("00000000-0000-7000-8000-000000000001")
"""The funding account: one per city, and so one per schema, under an id that is always the same."""
