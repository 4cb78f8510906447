"""Cards that were ordered and are nobody's yet, and cards that take the place of lost ones."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from wallet.core.database import metadata
from wallet.core.my_number import refused_in

card_batch = Table(
    "card_batch",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("cards", Integer, nullable=False),
    Column("destination", Text, nullable=False, comment="where the box goes; nobody's address"),
    Column("state", Text, nullable=False),
    Column("payment_limit_yen", BigInteger, nullable=False),
    Column("daily_limit_yen", BigInteger, nullable=False),
    Column("ordered_by", UUID, nullable=False, comment="member of staff"),
    Column("made_at", DateTime(timezone=True), nullable=False),
    Column("shipped_at", DateTime(timezone=True)),
    CheckConstraint("cards > 0", name="cards"),
    CheckConstraint("state IN ('printed', 'shipped', 'cancelled')", name="state"),
    CheckConstraint("payment_limit_yen >= 0 AND daily_limit_yen >= 0", name="limits"),
    CheckConstraint(refused_in("destination"), name="no_my_number"),
)

# A blank becomes a row of card, with the same id, number and hash, when it is activated; until
# then the till knows no such card. What is to be printed is sealed, and forgotten when it leaves.
blank_card = Table(
    "blank_card",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("batch_id", UUID, ForeignKey("card_batch.id"), nullable=False),
    Column("number", Integer, nullable=False, comment="in its batch, from 1"),
    Column("printed_number", Text, nullable=False),
    Column("number_hash", LargeBinary, nullable=False),
    Column("pin_mac", LargeBinary, nullable=False),
    Column("print_sealed", LargeBinary, comment="QR value and PIN, until they are shipped"),
    Column("wallet_id", UUID, ForeignKey("wallet.id"), comment="for whom it was printed"),
    Column("state", Text, nullable=False),
    Column("activated_at", DateTime(timezone=True)),
    UniqueConstraint("batch_id", "number"),
    UniqueConstraint("printed_number"),
    UniqueConstraint("number_hash"),
    CheckConstraint("state IN ('printed', 'shipped', 'activated', 'void')", name="state"),
    CheckConstraint("state = 'printed' OR print_sealed IS NULL", name="secrets_stay_here"),
    CheckConstraint("(state = 'activated') = (activated_at IS NOT NULL)", name="activated"),
    CheckConstraint("octet_length(pin_mac) = 32", name="pin_mac"),
)

card_replacement = Table(
    "card_replacement",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("old_card_id", UUID, ForeignKey("card.id"), nullable=False),
    Column("new_card_id", UUID, ForeignKey("card.id"), nullable=False),
    Column("from_wallet_id", UUID, ForeignKey("wallet.id"), nullable=False),
    Column("to_wallet_id", UUID, ForeignKey("wallet.id"), nullable=False),
    Column("decided_by", UUID, nullable=False, comment="member of staff"),
    Column("decided_at", DateTime(timezone=True), nullable=False),
    Column("moved_at", DateTime(timezone=True), comment="NULL: the money is still to be moved"),
    UniqueConstraint("old_card_id"),
    Index("ix_card_replacement_to_move", "id", postgresql_where=text("moved_at IS NULL")),
)
