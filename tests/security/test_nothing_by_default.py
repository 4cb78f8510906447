"""A new installation: nobody is in it, nothing opens it, and its secrets are its own."""

from typing import Final

import pytest
from sqlalchemy import text

from tests.factories.phones import open_engine
from tests.servers import Database
from wallet.core.database import read

WHO_COULD_COME_IN: Final = (
    "api_key", "card", "device", "merchant", "passkey", "password", "person", "session", "staff",
    "staff_role", "terminal", "totp", "wallet",
)  # fmt: skip


@pytest.mark.asvs("v5.0.0-6.3.2")
async def test_a_new_installation_has_nobody_who_could_come_in(module_database: Database) -> None:
    async with open_engine(module_database.application_url) as engine, read(engine) as connection:
        for table in WHO_COULD_COME_IN:
            counted = await connection.execute(text(f"SELECT count(*) FROM {table}"))  # noqa: S608 - a name of ours
            assert counted.scalar_one() == 0, table
