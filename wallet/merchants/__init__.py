"""Merchants: shops, terminals, and the API keys that their systems call with."""
