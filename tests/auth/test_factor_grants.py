"""What the application can never do to a factor, even when somebody has taken it over."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.servers import Database
from wallet.core.database import make_engine, sqlstate_of, write


@pytest.fixture
async def engine(module_database: Database) -> AsyncIterator[AsyncEngine]:
    """Yield an engine with the application's rights."""
    engine = make_engine(module_database.application_url, pool_size=1, application_name="tests")
    yield engine
    await engine.dispose()


@pytest.mark.asvs("v5.0.0-13.2.2")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE passkey SET principal_id = principal_id",
        "UPDATE passkey SET public_key = public_key",
        "DELETE FROM passkey",
        "UPDATE pin SET device_id = device_id",
        "DELETE FROM pin",
        "UPDATE totp SET principal_id = principal_id",
        "UPDATE password SET principal_id = principal_id",
        "UPDATE recovery_code SET principal_id = principal_id",
        "DELETE FROM recovery_code",
        "TRUNCATE attempt",
    ],
)
async def test_the_application_cannot_move_a_factor_to_somebody_else_or_remove_it(
    engine: AsyncEngine, statement: str
) -> None:
    with pytest.raises(ProgrammingError) as caught:
        await write(engine, lambda connection: connection.execute(text(statement)))
    assert sqlstate_of(caught.value) == "42501"
