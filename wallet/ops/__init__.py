"""Ops: what may hold money up. Every batch of money obeys it."""
