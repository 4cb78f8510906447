"""Open data: what became of the city's money, in numbers, out of the ledger and nothing else.

Staff see every cell. What leaves the house is the public form, in which a cell that so few people
are behind that they could be told apart is left out, and with it whatever would give it away.
"""
