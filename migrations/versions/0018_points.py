"""Gifts, events, steps, charges and exchanges."""

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and what the application may do with them."""


def downgrade() -> None:
    """Remove them."""
