"""Bring a database to the newest schema, as its owner."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config

ROOT: Final = Path(__file__).parents[1]


def migrate(*, owner_url: str) -> None:
    """Run every migration that has not run yet; one that is under way elsewhere is waited for.

    Needs no event loop turning in the calling thread.
    """
    config = Config(toml_file=ROOT / "pyproject.toml")
    config.attributes["owner_url"] = owner_url
    command.upgrade(config, "head")
