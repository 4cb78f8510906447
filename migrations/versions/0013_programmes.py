"""The life of programmes."""

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and what the application may do with them."""


def downgrade() -> None:
    """Remove them."""
