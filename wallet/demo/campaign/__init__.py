"""A whole voucher campaign on a clock of its own, from the first draft to the last yen."""
