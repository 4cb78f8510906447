"""Rosters of benefits, what each row entitles somebody to, and what had to be taken back.

There is no name, address or birthday here: whoever a row is for is a keyed hash of the city's
reference, and a birthday is kept only so that it can be compared, under a key of its row's own.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from wallet.core.database import metadata

benefit_run = Table(
    "benefit_run",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("programme_id", UUID, ForeignKey("programme.id"), nullable=False),
    Column("period", Text, nullable=False, comment="once in it for each beneficiary"),
    Column("file_hash", LargeBinary, nullable=False, comment="SHA-256 of the roster"),
    Column("rows_total", Integer, nullable=False),
    Column("claim_until", Date, nullable=False, comment="last day to claim, in Japan"),
    Column("state", Text, nullable=False),
    Column("paused_at", DateTime(timezone=True)),
    Column("imported_by", UUID, nullable=False),
    Column("imported_at", DateTime(timezone=True), nullable=False),
    Column("approved_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Index(
        "uq_benefit_run_programme_id_period_file_hash",
        "programme_id",
        "period",
        "file_hash",
        unique=True,
        postgresql_where=text("state <> 'withdrawn'"),
    ),
    Index("ix_benefit_run_state", "state"),
    CheckConstraint("period ~ '^[0-9A-Za-z-]{1,32}$'", name="period"),
    CheckConstraint("octet_length(file_hash) = 32", name="file_hash"),
    CheckConstraint("state IN ('draft', 'approved', 'done', 'withdrawn')", name="state"),
    CheckConstraint(
        "(state IN ('approved', 'done')) = (approved_at IS NOT NULL)", name="approved_before"
    ),
)

# One for each accepted row. The ids of its transfers follow its own.
benefit_grant = Table(
    "benefit_grant",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("run_id", UUID, ForeignKey("benefit_run.id"), nullable=False),
    Column("row_number", Integer, nullable=False, comment="in the roster; its heading is row 1"),
    Column("programme_id", UUID, nullable=False, comment="its run's"),
    Column("period", Text, nullable=False, comment="its run's"),
    Column("beneficiary_hash", LargeBinary, nullable=False, comment="keyed"),
    Column("guardian_hash", LargeBinary, comment="keyed"),
    Column("birth_mac", LargeBinary, nullable=False, comment="keyed, of this row and a birthday"),
    Column("amount_yen", BigInteger, nullable=False),
    Column("reason_code", Text, nullable=False),
    Column("delivery", Text, nullable=False),
    Column("protected", Boolean, nullable=False, comment="nothing is ever sent to an address"),
    Column("state", Text, nullable=False),
    Column("because", Text, comment="why it could not be paid yet"),
    Column("due_at", DateTime(timezone=True), comment="when it is to be paid, or tried again"),
    Column("wallet_id", UUID, ForeignKey("wallet.id")),
    Column("account_id", UUID, comment="the purse it was paid into"),
    Column("claimed_by", UUID, comment="the person at whose word it was given to the wallet"),
    Column("claimed_at", DateTime(timezone=True)),
    Column("granted_at", DateTime(timezone=True)),
    Column("code_mac", LargeBinary, comment="keyed, of the code in the letter"),
    Column("code_failures", SmallInteger, nullable=False, server_default="0"),
    Column("returned_yen", BigInteger, nullable=False, server_default="0"),
    Index("uq_benefit_grant_run_id_row_number", "run_id", "row_number", unique=True),
    Index(
        "uq_benefit_grant_programme_id_period_beneficiary_hash",
        "programme_id",
        "period",
        "beneficiary_hash",
        unique=True,
        postgresql_where=text("state NOT IN ('withdrawn', 'clawed_back')"),
    ),
    Index(
        "uq_benefit_grant_code_mac",
        "code_mac",
        unique=True,
        postgresql_where=text("code_mac IS NOT NULL"),
    ),
    Index(
        "ix_benefit_grant_run_id_due_at_id",
        "run_id",
        "due_at",
        "id",
        postgresql_where=text("state = 'due'"),
    ),
    Index("ix_benefit_grant_beneficiary_hash", "beneficiary_hash"),
    Index(
        "ix_benefit_grant_guardian_hash",
        "guardian_hash",
        postgresql_where=text("guardian_hash IS NOT NULL"),
    ),
    Index(
        "ix_benefit_grant_account_id", "account_id", postgresql_where=text("account_id IS NOT NULL")
    ),
    CheckConstraint("amount_yen > 0", name="amount_positive"),
    CheckConstraint("returned_yen BETWEEN 0 AND amount_yen", name="returned"),
    CheckConstraint("code_failures BETWEEN 0 AND 5", name="code_failures"),
    CheckConstraint("delivery IN ('wallet', 'card', 'paper', 'bank')", name="delivery"),
    CheckConstraint(
        "state IN ('draft', 'offered', 'due', 'granted', 'lapsed', 'elsewhere', 'withdrawn',"
        " 'clawed_back')",
        name="state",
    ),
    CheckConstraint(
        "(state = 'due') = (due_at IS NOT NULL) AND (state <> 'due' OR wallet_id IS NOT NULL)",
        name="due_to_a_wallet",
    ),
    CheckConstraint(
        "(state IN ('granted', 'clawed_back')) = (granted_at IS NOT NULL)"
        " AND (granted_at IS NULL) = (account_id IS NULL)",
        name="granted_into_a_purse",
    ),
    CheckConstraint(
        "octet_length(beneficiary_hash) = 32 AND octet_length(birth_mac) = 32"
        " AND octet_length(guardian_hash) = 32 AND octet_length(code_mac) = 32",
        name="hashes",
    ),
)

benefit_row_error = Table(
    "benefit_row_error",
    metadata,
    Column("run_id", UUID, ForeignKey("benefit_run.id"), primary_key=True),
    Column("row_number", Integer, primary_key=True),
    Column("field", Text, primary_key=True),
    Column("code", Text, nullable=False),
    comment="Append-only; what stood in the row is not kept.",
)

# Who of the residents a reference of the city's is, once it has been seen.
beneficiary = Table(
    "beneficiary",
    metadata,
    Column("beneficiary_hash", LargeBinary, primary_key=True),
    Column("person_id", UUID, ForeignKey("person.id"), nullable=False),
    Column("proven_by", Text, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Index("ix_beneficiary_person_id", "person_id"),
    CheckConstraint("octet_length(beneficiary_hash) = 32", name="beneficiary_hash"),
    CheckConstraint("proven_by IN ('code', 'counter')", name="proven_by"),
)

benefit_claw_back = Table(
    "benefit_claw_back",
    metadata,
    Column("id", UUID, primary_key=True, comment="its transfer's id follows it"),
    Column("grant_id", UUID, ForeignKey("benefit_grant.id"), nullable=False),
    Column("amount_yen", BigInteger, nullable=False, comment="what was paid by mistake"),
    Column("because", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("asked_at", DateTime(timezone=True), nullable=False),
    Column("done_at", DateTime(timezone=True)),
    Column("returned_yen", BigInteger, nullable=False, server_default="0"),
    Index(
        "uq_benefit_claw_back_grant_id",
        "grant_id",
        unique=True,
        postgresql_where=text("state = 'due'"),
    ),
    Index("ix_benefit_claw_back_grant_id", "grant_id"),
    Index("ix_benefit_claw_back_state", "state", postgresql_where=text("state = 'due'")),
    CheckConstraint("amount_yen > 0", name="amount_positive"),
    CheckConstraint("returned_yen BETWEEN 0 AND amount_yen", name="returned"),
    CheckConstraint(
        "because IN ('overpaid', 'not_entitled', 'duplicate', 'deceased', 'moved')", name="because"
    ),
    CheckConstraint("state IN ('due', 'done')", name="state"),
    CheckConstraint("(state = 'done') = (done_at IS NOT NULL)", name="done_at"),
)

benefit_receivable = Table(
    "benefit_receivable",
    metadata,
    Column("claw_back_id", UUID, ForeignKey("benefit_claw_back.id"), primary_key=True),
    Column("amount_yen", BigInteger, nullable=False, comment="spent already, to be paid back"),
    Column("since", DateTime(timezone=True), nullable=False),
    CheckConstraint("amount_yen > 0", name="amount_positive"),
    comment="Append-only; a wallet never owes anything, a person may.",
)
