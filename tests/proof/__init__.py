"""Proofs of the city above its ledger."""
