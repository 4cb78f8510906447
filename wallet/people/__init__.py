"""People: who they are to the city, how they come in and come back, who stands by them.

Their wallets, and the cards that lead to them. Nobody has a name here.
"""
