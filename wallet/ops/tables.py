"""What may hold money up: the stop row that every batch reads, and the trail of stops."""

from sqlalchemy import CheckConstraint, Column, DateTime, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from wallet.core.database import metadata

stop_control = Table(
    "stop_control",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("scopes", ARRAY(Text), nullable=False, comment="what is stopped right now"),
    CheckConstraint("id = 1", name="one_row"),
)

stop_event = Table(
    "stop_event",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("action IN ('engage', 'release')", name="action"),
    CheckConstraint("length(reason) > 0", name="reason"),
    comment="Append-only.",
)
