"""Replay: real payments from a file, sent again through the running API, then proved."""
