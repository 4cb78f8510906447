"""Receipts: money asked for and money that came in, by every way there is to pay the city."""
