"""How fast the till is, measured against what the same machine can do in the same minutes.

Every figure is a ratio or a cost per payment, because a shared machine's absolute numbers mean
little. Run ``python -m bench``; ``--quick`` is a smoke test, ``--only`` one part.
"""
