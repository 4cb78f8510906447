"""Batches of cards and paper vouchers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_NO_MY_NUMBER = "destination !~ '([0-9０-９][ 　ー−-]?){11}[0-9０-９]'"


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _create_card_batch()
    _create_blank_card()
    _create_card_replacement()
    _create_paper_batch()
    _create_paper_serial()
    _create_paper_use()
    _allow_instruments("cpm_code", "card", "app", "paper")
    _grant()


def downgrade() -> None:
    """Remove them; payments by paper must not be there any more."""
    _allow_instruments("cpm_code", "card", "app")
    op.drop_table("paper_use")
    op.drop_table("paper_serial")
    op.drop_table("paper_batch")
    op.drop_table("card_replacement")
    op.drop_table("blank_card")
    op.drop_table("card_batch")


def _create_card_batch() -> None:
    op.create_table(
        "card_batch",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("cards", sa.Integer(), nullable=False),
        sa.Column(
            "destination", sa.Text(), nullable=False, comment="where the box goes; nobody's address"
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("payment_limit_yen", sa.BigInteger(), nullable=False),
        sa.Column("daily_limit_yen", sa.BigInteger(), nullable=False),
        sa.Column("ordered_by", sa.UUID(), nullable=False, comment="member of staff"),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("shipped_at", sa.DateTime(timezone=True), nullable=True),
        *_checks(
            "card_batch",
            cards="cards > 0",
            state="state IN ('printed', 'shipped', 'cancelled')",
            limits="payment_limit_yen >= 0 AND daily_limit_yen >= 0",
            no_my_number=_NO_MY_NUMBER,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_card_batch")),
    )


def _create_blank_card() -> None:
    op.create_table(
        "blank_card",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("batch_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="in its batch, from 1"),
        sa.Column("printed_number", sa.Text(), nullable=False),
        sa.Column("number_hash", sa.LargeBinary(), nullable=False),
        sa.Column("pin_mac", sa.LargeBinary(), nullable=False),
        sa.Column(
            "print_sealed",
            sa.LargeBinary(),
            nullable=True,
            comment="QR value and PIN, until they are shipped",
        ),
        sa.Column("wallet_id", sa.UUID(), nullable=True, comment="for whom it was printed"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        *_checks(
            "blank_card",
            state="state IN ('printed', 'shipped', 'activated', 'void')",
            secrets_stay_here="state = 'printed' OR print_sealed IS NULL",
            activated="(state = 'activated') = (activated_at IS NOT NULL)",
            pin_mac="octet_length(pin_mac) = 32",
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["card_batch.id"], name=op.f("fk_blank_card_batch_id_card_batch")
        ),
        sa.ForeignKeyConstraint(
            ["wallet_id"], ["wallet.id"], name=op.f("fk_blank_card_wallet_id_wallet")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blank_card")),
        sa.UniqueConstraint("batch_id", "number", name=op.f("uq_blank_card_batch_id_number")),
        sa.UniqueConstraint("printed_number", name=op.f("uq_blank_card_printed_number")),
        sa.UniqueConstraint("number_hash", name=op.f("uq_blank_card_number_hash")),
    )


def _create_card_replacement() -> None:
    op.create_table(
        "card_replacement",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("old_card_id", sa.UUID(), nullable=False),
        sa.Column("new_card_id", sa.UUID(), nullable=False),
        sa.Column("from_wallet_id", sa.UUID(), nullable=False),
        sa.Column("to_wallet_id", sa.UUID(), nullable=False),
        sa.Column("decided_by", sa.UUID(), nullable=False, comment="member of staff"),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "moved_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="NULL: the money is still to be moved",
        ),
        *(
            sa.ForeignKeyConstraint(
                [column],
                [f"{table}.id"],
                name=op.f(f"fk_card_replacement_{column}_{table}"),
            )
            for column, table in (
                ("old_card_id", "card"),
                ("new_card_id", "card"),
                ("from_wallet_id", "wallet"),
                ("to_wallet_id", "wallet"),
            )
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_card_replacement")),
        sa.UniqueConstraint("old_card_id", name=op.f("uq_card_replacement_old_card_id")),
    )
    op.create_index(
        "ix_card_replacement_to_move",
        "card_replacement",
        ["id"],
        unique=False,
        postgresql_where=sa.text("moved_at IS NULL"),
    )


def _create_paper_batch() -> None:
    op.create_table(
        "paper_batch",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column(
            "number",
            sa.Integer(),
            sa.Identity(always=True),
            nullable=False,
            comment="on every sheet",
        ),
        sa.Column("programme_id", sa.UUID(), nullable=False),
        sa.Column("booklets", sa.Integer(), nullable=False),
        sa.Column(
            "sheets",
            sa.SmallInteger(),
            nullable=False,
            comment="in each booklet, all worth the same",
        ),
        sa.Column("sheet_yen", sa.BigInteger(), nullable=False, comment="what one sheet is worth"),
        sa.Column(
            "clearing_until",
            sa.Date(),
            nullable=False,
            comment="last day on which used sheets are taken in;"
            " the money waits for them until then",
        ),
        sa.Column(
            "destination",
            sa.Text(),
            nullable=False,
            comment="where the boxes go; nobody's address",
        ),
        sa.Column("ordered_by", sa.UUID(), nullable=False, comment="member of staff"),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        *_checks(
            "paper_batch",
            number="number BETWEEN 1 AND 99999",
            booklets="booklets BETWEEN 1 AND 999999",
            sheets="sheets BETWEEN 1 AND 99 AND sheet_yen > 0",
            no_my_number=_NO_MY_NUMBER,
        ),
        sa.ForeignKeyConstraint(
            ["programme_id"], ["programme.id"], name=op.f("fk_paper_batch_programme_id_programme")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paper_batch")),
        sa.UniqueConstraint("number", name=op.f("uq_paper_batch_number")),
    )


def _create_paper_serial() -> None:
    op.create_table(
        "paper_serial",
        sa.Column("id", sa.UUID(), nullable=False, comment="its wallet's id too, once it is sold"),
        sa.Column("batch_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="in its batch, from 1"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sold_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "issued_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="NULL: its money is still to be issued",
        ),
        sa.Column(
            "refusal",
            postgresql.JSONB(),
            nullable=True,
            comment="why nothing was issued; code and facts",
        ),
        *_checks(
            "paper_serial",
            state="state IN"
            " ('printed', 'shipped', 'sold', 'used', 'returned', 'cancelled', 'lost')",
            sold="state NOT IN ('sold', 'used') OR sold_at IS NOT NULL",
            issued_when_sold="issued_at IS NULL OR sold_at IS NOT NULL",
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["paper_batch.id"], name=op.f("fk_paper_serial_batch_id_paper_batch")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paper_serial")),
        sa.UniqueConstraint("batch_id", "number", name=op.f("uq_paper_serial_batch_id_number")),
    )
    op.create_index(
        "ix_paper_serial_to_issue",
        "paper_serial",
        ["id"],
        unique=False,
        postgresql_where=sa.text("sold_at IS NOT NULL AND issued_at IS NULL AND refusal IS NULL"),
    )


def _create_paper_use() -> None:
    op.create_table(
        "paper_use",
        sa.Column("serial_id", sa.UUID(), nullable=False),
        sa.Column("sheet", sa.SmallInteger(), nullable=False),
        sa.Column("payment_id", sa.UUID(), nullable=False),
        sa.Column("entry_id", sa.UUID(), nullable=False, comment="the envelope it came in"),
        sa.Column("terminal_id", sa.UUID(), nullable=False),
        sa.Column(
            "used_on",
            sa.Date(),
            nullable=False,
            comment="the day in Japan it was used in the shop",
        ),
        sa.Column("entered_by", sa.UUID(), nullable=False, comment="member of staff"),
        sa.Column("entered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "settled_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="NULL: still to be paid",
        ),
        sa.Column(
            "refusal",
            postgresql.JSONB(),
            nullable=True,
            comment="why the shop is not paid; code and facts",
        ),
        *_checks(
            "paper_use",
            sheet="sheet BETWEEN 1 AND 99",
            refused_is_settled="refusal IS NULL OR settled_at IS NOT NULL",
        ),
        sa.ForeignKeyConstraint(
            ["serial_id"], ["paper_serial.id"], name=op.f("fk_paper_use_serial_id_paper_serial")
        ),
        sa.ForeignKeyConstraint(
            ["terminal_id"], ["terminal.id"], name=op.f("fk_paper_use_terminal_id_terminal")
        ),
        sa.PrimaryKeyConstraint("serial_id", "sheet", name=op.f("pk_paper_use")),
        sa.UniqueConstraint("payment_id", name=op.f("uq_paper_use_payment_id")),
    )
    op.create_index("ix_paper_use_entry_id", "paper_use", ["entry_id"], unique=False)
    op.create_index(
        "ix_paper_use_to_settle",
        "paper_use",
        ["payment_id"],
        unique=False,
        postgresql_where=sa.text("settled_at IS NULL"),
    )


def _allow_instruments(*instruments: str) -> None:
    op.drop_constraint(op.f("ck_payment_instrument"), "payment")
    op.create_check_constraint(
        op.f("ck_payment_instrument"),
        "payment",
        "instrument IN ({})".format(", ".join(f"'{one}'" for one in instruments)),
    )


def _checks(table: str, **conditions: str) -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))
        for name, condition in conditions.items()
    ]


def _grant() -> None:
    """Rows stay; what may change is where a thing is on its way, and its secrets may be wiped."""
    op.execute(
        "GRANT SELECT, INSERT ON card_batch, blank_card, card_replacement,"
        " paper_batch, paper_serial, paper_use TO wallet_app"
    )
    op.execute("GRANT UPDATE (state, shipped_at) ON card_batch TO wallet_app")
    op.execute(
        "GRANT UPDATE (state, print_sealed, wallet_id, activated_at) ON blank_card TO wallet_app"
    )
    op.execute("GRANT UPDATE (moved_at) ON card_replacement TO wallet_app")
    op.execute(
        "GRANT UPDATE (state, changed_at, sold_at, issued_at, refusal) ON paper_serial"
        " TO wallet_app"
    )
    op.execute("GRANT UPDATE (settled_at, refusal) ON paper_use TO wallet_app")
