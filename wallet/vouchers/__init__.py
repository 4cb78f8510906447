"""Vouchers: value of a programme given to wallets, within its quotas."""
