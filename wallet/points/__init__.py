"""Points and local coin: charges, civic events, steps, exchanges, gifts, and cash-out by shops."""
