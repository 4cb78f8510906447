"""Programmes: kinds of money as data, and where, when and in what order they may be spent."""
