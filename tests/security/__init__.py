"""Attacks and requirements of no one room: tried at every door, or read in the source."""
