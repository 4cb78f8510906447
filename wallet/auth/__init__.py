"""Auth: device keys, sessions, levels, step-up and the factors behind them.

It knows a holder only by an id: a person's or a member of staff's. Who they are is for the rooms
above.
"""
