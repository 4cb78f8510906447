"""The ledger: accounts and transfers, TigerBeetle's semantics on PostgreSQL.

``rules`` are the words, ``book`` decides in memory, ``teller`` settles what is waiting in one
transaction, ``create`` is the door, ``queries`` reads, ``verify`` and ``seal`` prove.
"""
