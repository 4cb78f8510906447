"""Programmes: kinds of money as data; one immutable row per version of the terms."""

from sqlalchemy import CheckConstraint, Column, DateTime, Integer, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB, UUID

from wallet.core.database import metadata

programme = Table(
    "programme",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("number", Integer, nullable=False, comment="user_data_32 of its transfers"),
    Column("code", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("terms", JSONB, nullable=False),
    Column("clearing_account_id", UUID, nullable=False, comment="money received for it"),
    Column("budget_account_id", UUID, nullable=False, comment="what the city adds"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("number"),
    UniqueConstraint("code"),
    CheckConstraint("number > 0 AND version > 0", name="number_and_version"),
)
