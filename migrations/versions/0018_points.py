"""Gifts, events, steps, charges and exchanges."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _create_gift()
    _create_civic_event()
    _create_attendance()
    _create_step_rule()
    _create_step_day()
    _create_exchange()
    _create_takings_order()
    _create_charge()
    _grant()
    for table in ("attendance", "exchange"):
        op.execute(f"CALL make_immutable('{table}')")


def downgrade() -> None:
    """Remove them."""
    op.drop_table("charge")
    op.drop_table("takings_order")
    op.drop_table("exchange")
    op.drop_table("step_day")
    op.drop_table("step_rule")
    op.drop_table("attendance")
    op.drop_table("civic_event")
    op.drop_table("gift")


def _create_gift() -> None:
    op.create_table(
        "gift",
        sa.Column("id", sa.UUID(), nullable=False, comment="its transfers are numbered after it"),
        sa.Column("giver_id", sa.UUID(), nullable=False),
        sa.Column("giver_wallet_id", sa.UUID(), nullable=False),
        sa.Column(
            "receiver_id", sa.UUID(), nullable=True, comment="NULL: whoever claims it by its code"
        ),
        sa.Column("receiver_wallet_id", sa.UUID(), nullable=True),
        sa.Column("programme_id", sa.UUID(), nullable=False),
        sa.Column("amount_yen", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column(
            "code_hash",
            sa.LargeBinary(),
            nullable=True,
            comment="keyed; of what is passed on to the receiver",
        ),
        sa.Column(
            "given_on",
            sa.Date(),
            nullable=False,
            comment="the day in Japan whose limits it counts for",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="of the code; what nobody claimed",
        ),
        sa.Column(
            "decided_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when it was claimed or cancelled",
        ),
        *_checks(
            "gift",
            given_to_somebody="CASE state WHEN 'given' THEN receiver_id IS NOT NULL"
            " AND receiver_wallet_id IS NOT NULL ELSE receiver_id IS NULL"
            " AND receiver_wallet_id IS NULL AND code_hash IS NOT NULL END",
            state="state IN ('given', 'waiting', 'cancelled')",
            code_expires="(code_hash IS NULL) = (expires_at IS NULL)",
            amount="amount_yen BETWEEN 1 AND 100000",
            to_another="giver_id <> receiver_id",
            code_hash="octet_length(code_hash) = 32",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gift")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_gift_code_hash")),
        sa.UniqueConstraint(
            "giver_id", "idempotency_key", name=op.f("uq_gift_giver_id_idempotency_key")
        ),
    )
    op.create_index(
        "ix_gift_of_giver",
        "gift",
        ["giver_id", "given_on"],
        unique=False,
        postgresql_where=sa.text("amount_yen > 0"),
    )
    op.create_index(
        "ix_gift_of_receiver",
        "gift",
        ["receiver_id", "id"],
        unique=False,
        postgresql_where=sa.text("amount_yen > 0"),
    )


def _create_civic_event() -> None:
    op.create_table(
        "civic_event",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("programme_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("amount_yen", sa.BigInteger(), nullable=False, comment="for one person and day"),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column(
            "grants_max",
            sa.Integer(),
            nullable=True,
            comment="NULL: as many as the budget pays for",
        ),
        sa.Column("grants", sa.Integer(), server_default="0", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('open', 'closed')", name=op.f("ck_civic_event_state")),
        sa.CheckConstraint("amount_yen BETWEEN 1 AND 10000", name=op.f("ck_civic_event_amount")),
        sa.CheckConstraint(
            "grants >= 0 AND grants <= grants_max", name=op.f("ck_civic_event_grants")
        ),
        sa.CheckConstraint("grants_max > 0", name=op.f("ck_civic_event_grants_max")),
        sa.CheckConstraint("last_day >= first_day", name=op.f("ck_civic_event_days")),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 80", name=op.f("ck_civic_event_name")),
        sa.ForeignKeyConstraint(
            ["programme_id"], ["programme.id"], name=op.f("fk_civic_event_programme_id_programme")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_civic_event")),
    )


def _create_attendance() -> None:
    op.create_table(
        "attendance",
        sa.Column("id", sa.UUID(), nullable=False, comment="its transfer is the first after it"),
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False, comment="of the code that was shown"),
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("amount_yen", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_yen > 0", name=op.f("ck_attendance_amount_positive")),
        sa.CheckConstraint("octet_length(nonce) = 10", name=op.f("ck_attendance_nonce")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attendance")),
        sa.UniqueConstraint("event_id", "nonce", name=op.f("uq_attendance_event_id_nonce")),
        sa.UniqueConstraint(
            "event_id", "person_id", "day", name=op.f("uq_attendance_event_id_person_id_day")
        ),
        comment="Append-only: once for a person, an event and a day; each code once.",
    )


def _create_step_rule() -> None:
    op.create_table(
        "step_rule",
        sa.Column("programme_id", sa.UUID(), nullable=False),
        sa.Column(
            "ladder",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="[{steps, yen}], rising",
        ),
        sa.Column("month_max_yen", sa.BigInteger(), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("last_day >= first_day", name=op.f("ck_step_rule_days")),
        sa.CheckConstraint("month_max_yen > 0", name=op.f("ck_step_rule_month_max_positive")),
        sa.ForeignKeyConstraint(
            ["programme_id"], ["programme.id"], name=op.f("fk_step_rule_programme_id_programme")
        ),
        sa.PrimaryKeyConstraint("programme_id", name=op.f("pk_step_rule")),
    )


def _create_step_day() -> None:
    op.create_table(
        "step_day",
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("programme_id", sa.UUID(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column(
            "device_id",
            sa.UUID(),
            nullable=False,
            comment="the phone whose steps count on that day",
        ),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("rewarded_yen", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("rewarded_yen >= 0", name=op.f("ck_step_day_rewarded_not_negative")),
        sa.CheckConstraint("steps BETWEEN 0 AND 100000", name=op.f("ck_step_day_steps")),
        sa.PrimaryKeyConstraint("person_id", "programme_id", "day", name=op.f("pk_step_day")),
    )


def _create_exchange() -> None:
    op.create_table(
        "exchange",
        sa.Column("id", sa.UUID(), nullable=False, comment="its transfers are numbered after it"),
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("from_programme_id", sa.UUID(), nullable=False),
        sa.Column("to_programme_id", sa.UUID(), nullable=False),
        sa.Column("offered_yen", sa.BigInteger(), nullable=False, comment="as it was asked for"),
        sa.Column("given_yen", sa.BigInteger(), nullable=False),
        sa.Column("received_yen", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "from_programme_id <> to_programme_id", name=op.f("ck_exchange_two_programmes")
        ),
        sa.CheckConstraint(
            "given_yen > 0 AND received_yen > 0 AND given_yen <= offered_yen",
            name=op.f("ck_exchange_amounts"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exchange")),
        sa.UniqueConstraint(
            "person_id", "idempotency_key", name=op.f("uq_exchange_person_id_idempotency_key")
        ),
        comment="Append-only.",
    )


def _create_takings_order() -> None:
    op.create_table(
        "takings_order",
        sa.Column("id", sa.UUID(), nullable=False, comment="its transfer is the first after it"),
        sa.Column("shop_id", sa.UUID(), nullable=False),
        sa.Column(
            "to_shop_id", sa.UUID(), nullable=True, comment="NULL: leaves as a bank transfer"
        ),
        sa.Column("amount_yen", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("refused_because", sa.Text(), nullable=True),
        sa.Column("ordered_by", sa.UUID(), nullable=False, comment="the member of staff"),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'ordered') = (decided_at IS NULL)", name=op.f("ck_takings_order_decided")
        ),
        sa.CheckConstraint(
            "(state = 'refused') = (refused_because IS NOT NULL)",
            name=op.f("ck_takings_order_refused_says_why"),
        ),
        sa.CheckConstraint(
            "state IN ('ordered', 'moved', 'refused')", name=op.f("ck_takings_order_state")
        ),
        sa.CheckConstraint("amount_yen > 0", name=op.f("ck_takings_order_amount_positive")),
        sa.CheckConstraint("shop_id <> to_shop_id", name=op.f("ck_takings_order_to_another")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_takings_order")),
    )
    op.create_index(
        "ix_takings_order_due",
        "takings_order",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'ordered'"),
    )
    op.create_index("ix_takings_order_shop_id", "takings_order", ["shop_id", "id"], unique=False)


def _create_charge() -> None:
    op.create_table(
        "charge",
        sa.Column("id", sa.UUID(), nullable=False, comment="its transfer is the first after it"),
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("programme_id", sa.UUID(), nullable=False),
        sa.Column("amount_yen", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("order_id", sa.UUID(), nullable=False, comment="what the provider is to report"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "expires_at", sa.DateTime(timezone=True), nullable=False, comment="of the payment slip"
        ),
        sa.Column("charged_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'charged') = (charged_at IS NOT NULL)", name=op.f("ck_charge_charged")
        ),
        sa.CheckConstraint(
            "method IN ('convenience', 'card', 'bank')", name=op.f("ck_charge_method")
        ),
        sa.CheckConstraint("state IN ('waiting', 'charged')", name=op.f("ck_charge_state")),
        sa.CheckConstraint("amount_yen > 0", name=op.f("ck_charge_amount_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_charge")),
        sa.UniqueConstraint(
            "person_id", "idempotency_key", name=op.f("uq_charge_person_id_idempotency_key")
        ),
    )
    op.create_index(
        "ix_charge_of_person",
        "charge",
        ["person_id", "id"],
        unique=False,
        postgresql_where=sa.text("amount_yen > 0"),
    )


def _checks(table: str, **conditions: str) -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))
        for name, condition in conditions.items()
    ]


def _grant() -> None:
    op.execute(
        "GRANT SELECT, INSERT ON gift, civic_event, attendance, step_rule, step_day, exchange,"
        " takings_order, charge TO wallet_app"
    )
    op.execute(
        "GRANT UPDATE (state, receiver_id, receiver_wallet_id, decided_at) ON gift TO wallet_app"
    )
    op.execute("GRANT UPDATE (grants, state) ON civic_event TO wallet_app")
    op.execute(
        "GRANT UPDATE (ladder, month_max_yen, first_day, last_day, updated_at) ON step_rule"
        " TO wallet_app"
    )
    op.execute("GRANT UPDATE (steps, rewarded_yen, updated_at) ON step_day TO wallet_app")
    op.execute("GRANT UPDATE (state, refused_because, decided_at) ON takings_order TO wallet_app")
    op.execute("GRANT UPDATE (state, charged_at) ON charge TO wallet_app")
