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
ACCOUNT_RECEIPTS: Final = 12
"""Money that a payment provider has taken in for the city; debited by what it has reported."""
ACCOUNT_SUSPENSE: Final = 13
"""Money received that matches nothing yet, owed to whoever it will turn out to belong to."""
ACCOUNT_BONUS_RESERVE: Final = 14
"""Bonus that was promised and vests later; set aside from its budget, never spent twice."""
ACCOUNT_CASH_OUT: Final = 15
"""What left the city's money as a bank transfer that was ordered."""
ACCOUNT_PURSE: Final = 20
"""What is owed to a wallet's holder, of one programme, funding class and last day."""
ACCOUNT_PAYABLE: Final = 30
"""What is owed to a shop."""

TRANSFER_PAYMENT: Final = 10
"""A purse pays a shop."""
TRANSFER_ISSUE: Final = 20
"""A programme's clearing or budget account fills a purse."""
TRANSFER_REFUND: Final = 11
"""A shop gives a payment back, to the purses it came from."""
TRANSFER_COUPON: Final = 12
"""A budget pays a shop the part of a price that a coupon takes off."""
TRANSFER_SHOP_TO_SHOP: Final = 13
"""A shop pays another shop out of its takings."""
TRANSFER_BONUS: Final = 21
"""A budget fills a purse because of something the holder did."""
TRANSFER_BONUS_RESERVED: Final = 22
"""A budget sets a bonus aside until it vests."""
TRANSFER_BONUS_REVERSED: Final = 23
"""A bonus goes back to its budget, as the payment it was for was refunded."""
TRANSFER_GRANT: Final = 24
"""A budget fills the purse of somebody who is entitled to a benefit."""
TRANSFER_CLAW_BACK: Final = 25
"""What is unspent of a grant that was a mistake goes back to its budget."""
TRANSFER_GIFT: Final = 26
"""A holder gives to another one: from paid purse to paid purse of the same programme."""
TRANSFER_EXCHANGE: Final = 27
"""Free money goes back to one programme's budget, or comes out of another one's for it."""
TRANSFER_MOVE: Final = 28
"""Purse to purse of the same programme, as a lost card is replaced or a wallet is merged."""
TRANSFER_FUNDING: Final = 30
"""The city funds a programme's budget."""
TRANSFER_RECEIPT: Final = 31
"""Money that a provider took in is for a programme."""
TRANSFER_SUSPENDED: Final = 32
"""Money came in that matches nothing, or more of it than was asked for."""
TRANSFER_SUSPENSE_SETTLED: Final = 33
"""Money in suspense has found what it is for, or goes back to where it came from."""
TRANSFER_EXPIRY: Final = 40
"""What is left in a purse after its last day goes to its programme's budget."""
TRANSFER_BUYER_REFUND: Final = 41
"""What is left in a paid purse goes back to its buyer, through the programme's clearing."""
TRANSFER_CASH_OUT: Final = 42
"""A shop's takings leave as a bank transfer."""

FUNDING_ACCOUNT_ID: Final = UUID("00000000-0000-7000-8000-000000000001")
"""The funding account: one per city, and so one per schema, under an id that is always the same."""
