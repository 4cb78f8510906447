"""The proof: every yen accounted for, from the ledger up to programmes, payments and codes.

:func:`prove` looks at one moment of the database, so it may run beside traffic. It compares what
the tables say with each other and asks no other part of the programme.
"""

from wallet.proof.prove import Proof, prove
from wallet.proof.render import render

__all__ = ["Proof", "prove", "render"]
