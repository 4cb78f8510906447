"""Find transfers by time, and name the ones that a seal no longer fits."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_PARTITIONS_OF_TRANSFER = """
    SELECT inhrelid::regclass::text AS name FROM pg_inherits
    WHERE inhparent = 'transfer'::regclass
"""


def upgrade() -> None:
    """Add the fingerprints and the index; nothing was sealed before, so they need no default."""
    op.add_column(
        "seal",
        sa.Column(
            "fingerprints",
            sa.LargeBinary(),
            nullable=False,
            comment="of each transfer in order: its id and 8 bytes of its hash",
        ),
    )
    op.create_index("ix_transfer_timestamp", "transfer", ["timestamp"], unique=False)
    _guard_months_from_truncation()


def downgrade() -> None:
    """Remove them."""
    for name in _months():
        op.execute(f"DROP TRIGGER transfer_is_not_emptied ON {name}")
    op.drop_index("ix_transfer_timestamp", table_name="transfer")
    op.drop_column("seal", "fingerprints")


def _guard_months_from_truncation() -> None:
    """Refuse TRUNCATE of a month too; a month gets the table's row triggers, but not this one."""
    for name in _months():
        op.execute(
            f"CREATE TRIGGER transfer_is_not_emptied BEFORE TRUNCATE ON {name}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def _months() -> list[str]:
    return list(op.get_bind().execute(sa.text(_PARTITIONS_OF_TRANSFER)).scalars())
