"""The demonstration city: a whole city of wallets and shops, the same every time."""
