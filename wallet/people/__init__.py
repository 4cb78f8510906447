"""People: wallets, and the cards that lead to them."""
