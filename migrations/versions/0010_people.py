"""People: their contacts, what is under way with them, guardians, helpers; tiers of wallets."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and what the application may do with them."""
    _create_person()
    _create_contact()
    _create_contact_code()
    _create_identity_flow()
    _create_device_invitation()
    _give_wallets_a_person()
    _create_guardianship()
    _create_helper()
    _refuse_my_numbers()
    _grant()


def downgrade() -> None:
    """Remove the tables."""
    op.drop_constraint(op.f("ck_passkey_no_my_number"), "passkey")
    op.drop_constraint(op.f("ck_device_no_my_number"), "device")
    op.drop_table("helper")
    op.drop_table("guardianship")
    op.drop_index("ix_wallet_person_id", table_name="wallet")
    op.drop_column("wallet", "tier")
    op.drop_column("wallet", "person_id")
    op.drop_table("device_invitation")
    op.drop_table("identity_flow")
    op.drop_table("contact_code")
    op.drop_table("contact")
    op.drop_table("person")


def _create_person() -> None:
    op.create_table(
        "person",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("frozen_because", sa.Text(), nullable=True),
        sa.Column(
            "subject_hash",
            sa.LargeBinary(),
            nullable=True,
            comment="keyed; who the identity app says this is",
        ),
        sa.Column(
            "resident",
            sa.Boolean(),
            nullable=True,
            comment="lives in this city, as the identity app said once",
        ),
        sa.Column(
            "support_code", sa.Text(), nullable=False, comment="names the person to the help desk"
        ),
        sa.Column(
            "cooling_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="sign-in was changed a while ago",
        ),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        *_checks(
            "person",
            tier="tier IN ('T0', 'T1', 'T2', 'T3')",
            proven_by_the_app="tier <> 'T2' OR subject_hash IS NOT NULL",
            state="state IN ('active', 'frozen', 'closed')",
            frozen_because="frozen_because IN ('own', 'support', 'counter')",
            frozen_says_why="(state = 'frozen') = (frozen_because IS NOT NULL)",
            subject_hash="octet_length(subject_hash) = 32",
            support_code="support_code ~ '^[2-9A-HJ-NP-Z]{8}$'",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("subject_hash", name=op.f("uq_person_subject_hash")),
        sa.UniqueConstraint("support_code", name=op.f("uq_person_support_code")),
    )


def _create_contact() -> None:
    op.create_table(
        "contact",
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value_sealed", sa.LargeBinary(), nullable=False),
        sa.Column(
            "value_hash", sa.LargeBinary(), nullable=False, comment="keyed, to find it again"
        ),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=False),
        *_checks(
            "contact",
            kind="kind IN ('email', 'phone')",
            value_hash="octet_length(value_hash) = 32",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_contact_person_id_person")
        ),
        sa.PrimaryKeyConstraint("person_id", "kind", name=op.f("pk_contact")),
        sa.UniqueConstraint("kind", "value_hash", name=op.f("uq_contact_kind_value_hash")),
    )


def _create_contact_code() -> None:
    op.create_table(
        "contact_code",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("person_id", sa.UUID(), nullable=True, comment="NULL: somebody new"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("value_hash", sa.LargeBinary(), nullable=False),
        sa.Column(
            "thumbprint",
            sa.LargeBinary(),
            nullable=False,
            comment="of the device key that asked",
        ),
        sa.Column(
            "code_mac",
            sa.LargeBinary(),
            nullable=False,
            comment="random where no code shall fit",
        ),
        sa.Column("failures", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        *_checks(
            "contact_code",
            kind="kind IN ('email', 'phone')",
            hashes="octet_length(value_hash) = 32 AND octet_length(thumbprint) = 32"
            " AND octet_length(code_mac) = 32",
            failures="failures BETWEEN 0 AND 5",
            short_lived="expires_at <= created_at + interval '10 minutes'",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_contact_code_person_id_person")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact_code")),
    )
    op.create_index("ix_contact_code_expires_at", "contact_code", ["expires_at"], unique=False)


def _create_identity_flow() -> None:
    op.create_table(
        "identity_flow",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("person_id", sa.UUID(), nullable=True, comment="NULL: whoever it will be"),
        sa.Column("challenge_id", sa.UUID(), nullable=True, comment="the step-up it answers"),
        sa.Column(
            "thumbprint",
            sa.LargeBinary(),
            nullable=False,
            comment="of the device key that began it",
        ),
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column(
            "secrets_sealed", sa.LargeBinary(), nullable=False, comment="PKCE verifier and nonce"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        *_checks(
            "identity_flow",
            purpose="purpose IN ('raise', 'recover', 'step_up')",
            whose="(purpose = 'recover') = (person_id IS NULL)",
            challenge="(purpose = 'step_up') = (challenge_id IS NOT NULL)",
            hashes="octet_length(thumbprint) = 32 AND octet_length(state_hash) = 32",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_identity_flow_person_id_person")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_flow")),
        sa.UniqueConstraint("state_hash", name=op.f("uq_identity_flow_state_hash")),
    )
    op.create_index("ix_identity_flow_expires_at", "identity_flow", ["expires_at"], unique=False)


def _create_device_invitation() -> None:
    op.create_table(
        "device_invitation",
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("invited_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        *_checks(
            "device_invitation",
            invited_by="invited_by IN ('device', 'counter')",
            code_hash="octet_length(code_hash) = 32",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_device_invitation_person_id_person")
        ),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_device_invitation")),
    )
    op.create_index(
        "ix_device_invitation_expires_at", "device_invitation", ["expires_at"], unique=False
    )


def _give_wallets_a_person() -> None:
    op.add_column(
        "wallet",
        sa.Column("person_id", sa.UUID(), nullable=True, comment="NULL: known by its cards only"),
    )
    op.add_column(
        "wallet",
        sa.Column("tier", sa.Text(), server_default="T2", nullable=False, comment="its person's"),
    )
    op.create_foreign_key(
        op.f("fk_wallet_person_id_person"), "wallet", "person", ["person_id"], ["id"]
    )
    op.create_check_constraint(op.f("ck_wallet_tier"), "wallet", "tier IN ('T0', 'T1', 'T2', 'T3')")
    op.create_index("ix_wallet_person_id", "wallet", ["person_id"], unique=False)


def _create_guardianship() -> None:
    op.create_table(
        "guardianship",
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("guardian_id", sa.UUID(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        *_checks(
            "guardianship",
            kind="kind IN ('child', 'no_phone')",
            ends_after_it_began="until >= since",
        ),
        sa.ForeignKeyConstraint(
            ["guardian_id"], ["person.id"], name=op.f("fk_guardianship_guardian_id_person")
        ),
        sa.ForeignKeyConstraint(
            ["wallet_id"], ["wallet.id"], name=op.f("fk_guardianship_wallet_id_wallet")
        ),
        sa.PrimaryKeyConstraint("wallet_id", "guardian_id", "since", name=op.f("pk_guardianship")),
    )
    _index_what_lasts("guardianship", "wallet_id", "guardian_id", unique=True, lasts="until")
    _index_what_lasts("guardianship", "guardian_id", lasts="until")


def _create_helper() -> None:
    op.create_table(
        "helper",
        sa.Column("id", sa.UUID(), nullable=False, comment="holder of its own day's spending"),
        sa.Column("wallet_id", sa.UUID(), nullable=False),
        sa.Column("helper_id", sa.UUID(), nullable=True, comment="NULL: not yet accepted"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payment_limit_yen", sa.BigInteger(), nullable=False),
        sa.Column("daily_limit_yen", sa.BigInteger(), nullable=False),
        sa.Column(
            "code_hash", sa.LargeBinary(), nullable=False, comment="keyed; of the invitation"
        ),
        sa.Column("invited_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="of the invitation",
        ),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "cooling_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="a proxy pays nothing before",
        ),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        *_checks(
            "helper",
            kind="kind IN ('view', 'proxy')",
            limits="CASE kind WHEN 'proxy' THEN payment_limit_yen > 0 AND daily_limit_yen > 0"
            " ELSE payment_limit_yen = 0 AND daily_limit_yen = 0 END",
            accepted_by_somebody="(helper_id IS NULL) = (accepted_at IS NULL)"
            " AND (helper_id IS NULL) = (cooling_until IS NULL)",
            code_hash="octet_length(code_hash) = 32",
        ),
        sa.ForeignKeyConstraint(
            ["helper_id"], ["person.id"], name=op.f("fk_helper_helper_id_person")
        ),
        sa.ForeignKeyConstraint(
            ["wallet_id"], ["wallet.id"], name=op.f("fk_helper_wallet_id_wallet")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_helper")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_helper_code_hash")),
    )
    _index_what_lasts("helper", "wallet_id", lasts="revoked_at")
    _index_what_lasts("helper", "helper_id", "wallet_id", unique=True, lasts="revoked_at")


def _refuse_my_numbers() -> None:
    """What people call their devices and passkeys is the only text of theirs that is kept."""
    digit, gap = "[0-9０-９]", "[ 　ー−-]?"
    for table in ("device", "passkey"):
        op.create_check_constraint(
            op.f(f"ck_{table}_no_my_number"), table, f"name !~ '({digit}{gap}){{11}}{digit}'"
        )


def _checks(table: str, **conditions: str) -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))
        for name, condition in conditions.items()
    ]


def _index_what_lasts(table: str, *columns: str, lasts: str, unique: bool = False) -> None:
    """Index the rows whose end, in the column ``lasts``, has not come."""
    name = f"{'uq' if unique else 'ix'}_{table}_{'_'.join(columns)}"
    op.create_index(
        name, table, list(columns), unique=unique, postgresql_where=sa.text(f"{lasts} IS NULL")
    )


def _grant() -> None:
    op.execute(
        "GRANT SELECT, INSERT ON person, contact, contact_code, identity_flow, device_invitation,"
        " guardianship, helper TO wallet_app"
    )
    op.execute(
        "GRANT UPDATE (tier, state, frozen_because, subject_hash, resident, cooling_until)"
        " ON person TO wallet_app"
    )
    op.execute("GRANT UPDATE (value_sealed, value_hash, verified_at) ON contact TO wallet_app")
    op.execute("GRANT UPDATE (failures, used_at) ON contact_code TO wallet_app")
    op.execute("GRANT UPDATE (used_at) ON identity_flow, device_invitation TO wallet_app")
    op.execute("GRANT DELETE ON contact_code, identity_flow, device_invitation TO wallet_app")
    op.execute("GRANT UPDATE (holder, tier) ON wallet TO wallet_app")
    op.execute("GRANT UPDATE (until) ON guardianship TO wallet_app")
    op.execute(
        "GRANT UPDATE (helper_id, accepted_at, cooling_until, revoked_at) ON helper TO wallet_app"
    )
