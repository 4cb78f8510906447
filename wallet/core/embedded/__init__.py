"""PostgreSQL that comes with the programme: a real server on loopback, out of a wheel.

It runs with PostgreSQL's own durability (every commit reaches the disk), in a data folder that
survives restarts and crashes. Any ``DATABASE_URL`` takes its place; nothing above this room knows
the difference. Everything here blocks, so call it before an event loop turns.
"""

from wallet.core.embedded.databases import create_database, drop_database, url_for
from wallet.core.embedded.errors import EmbeddedPostgresError
from wallet.core.embedded.server import Cluster, start, status, stop

__all__ = [
    "Cluster",
    "EmbeddedPostgresError",
    "create_database",
    "drop_database",
    "start",
    "status",
    "stop",
    "url_for",
]
