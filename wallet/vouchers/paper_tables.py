"""Paper vouchers: what was printed, booklet by booklet, and which sheets have come back."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from wallet.core.database import metadata
from wallet.core.my_number import refused_in

paper_batch = Table(
    "paper_batch",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("number", Integer, Identity(always=True), nullable=False, comment="on every sheet"),
    Column("programme_id", UUID, ForeignKey("programme.id"), nullable=False),
    Column("booklets", Integer, nullable=False),
    Column("sheets", SmallInteger, nullable=False, comment="in each booklet, all worth the same"),
    Column("sheet_yen", BigInteger, nullable=False, comment="what one sheet is worth"),
    Column(
        "clearing_until",
        Date,
        nullable=False,
        comment="last day on which used sheets are taken in; the money waits for them until then",
    ),
    Column("destination", Text, nullable=False, comment="where the boxes go; nobody's address"),
    Column("ordered_by", UUID, nullable=False, comment="member of staff"),
    Column("made_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("number"),
    CheckConstraint("number BETWEEN 1 AND 99999", name="number"),
    CheckConstraint("booklets BETWEEN 1 AND 999999", name="booklets"),
    CheckConstraint("sheets BETWEEN 1 AND 99 AND sheet_yen > 0", name="sheets"),
    CheckConstraint(refused_in("destination"), name="no_my_number"),
)

# A booklet is one set of its programme. Once it is sold it has a wallet, which bears its id, and
# the sheets are paid from there: whoever holds the paper holds the money.
paper_serial = Table(
    "paper_serial",
    metadata,
    Column("id", UUID, primary_key=True, comment="its wallet's id too, once it is sold"),
    Column("batch_id", UUID, ForeignKey("paper_batch.id"), nullable=False),
    Column("number", Integer, nullable=False, comment="in its batch, from 1"),
    Column("state", Text, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("sold_at", DateTime(timezone=True)),
    Column("issued_at", DateTime(timezone=True), comment="NULL: its money is still to be issued"),
    Column("refusal", JSONB, comment="why nothing was issued; code and facts"),
    UniqueConstraint("batch_id", "number"),
    Index(
        "ix_paper_serial_to_issue",
        "id",
        postgresql_where=text("sold_at IS NOT NULL AND issued_at IS NULL AND refusal IS NULL"),
    ),
    CheckConstraint(
        "state IN ('printed', 'shipped', 'sold', 'used', 'returned', 'cancelled', 'lost')",
        name="state",
    ),
    CheckConstraint("state NOT IN ('sold', 'used') OR sold_at IS NOT NULL", name="sold"),
    CheckConstraint("issued_at IS NULL OR sold_at IS NOT NULL", name="issued_when_sold"),
)

# The key is what keeps a sheet from being paid twice, whoever brings it and wherever.
paper_use = Table(
    "paper_use",
    metadata,
    Column("serial_id", UUID, ForeignKey("paper_serial.id"), primary_key=True),
    Column("sheet", SmallInteger, primary_key=True),
    Column("payment_id", UUID, nullable=False),
    Column("entry_id", UUID, nullable=False, comment="the envelope it came in"),
    Column("terminal_id", UUID, ForeignKey("terminal.id"), nullable=False),
    Column("used_on", Date, nullable=False, comment="the day in Japan it was used in the shop"),
    Column("entered_by", UUID, nullable=False, comment="member of staff"),
    Column("entered_at", DateTime(timezone=True), nullable=False),
    Column("settled_at", DateTime(timezone=True), comment="NULL: still to be paid"),
    Column("refusal", JSONB, comment="why the shop is not paid; code and facts"),
    UniqueConstraint("payment_id"),
    Index("ix_paper_use_entry_id", "entry_id"),
    Index(
        "ix_paper_use_to_settle",
        "payment_id",
        postgresql_where=text("settled_at IS NULL"),
    ),
    CheckConstraint("sheet BETWEEN 1 AND 99", name="sheet"),
    CheckConstraint("refusal IS NULL OR settled_at IS NOT NULL", name="refused_is_settled"),
)
