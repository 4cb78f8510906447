"""Payments: a shop is paid out of a wallet's purses, once and for good."""
