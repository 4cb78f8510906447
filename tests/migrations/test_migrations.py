"""The migrations' whole way, on a database of its own: up, compare, last one down, up again."""

import pytest
from alembic import command

from tests.servers import Database, alembic_config
from wallet.core.embedded.databases import run_sql


def revision(database: Database) -> str:
    """Return the revision that the database is at."""
    return run_sql(url=database.owner_url, script="SELECT version_num FROM alembic_version;")


def test_the_models_and_the_migrated_schema_agree(database: Database) -> None:
    command.check(alembic_config(database.owner_url))


def test_the_last_migration_can_be_taken_back_and_run_again(database: Database) -> None:
    config = alembic_config(database.owner_url)
    newest = revision(database)
    command.downgrade(config, "-1")
    assert revision(database) != newest
    command.upgrade(config, "head")
    assert revision(database) == newest
    command.check(config)


def test_all_migrations_can_be_taken_back(database: Database) -> None:
    config = alembic_config(database.owner_url)
    command.downgrade(config, "base")
    left = run_sql(
        url=database.owner_url,
        script="SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname = 'public' AND relkind IN ('r', 'p', 'v', 'S');",
    )
    assert left.split() == ["alembic_version"]
    command.upgrade(config, "head")


@pytest.mark.asvs("v5.0.0-13.2.2")
@pytest.mark.parametrize("statement", ["CREATE TABLE mine ()", "CREATE TEMPORARY TABLE mine ()"])
def test_the_application_cannot_create_tables(database: Database, statement: str) -> None:
    with pytest.raises(Exception, match="permission denied"):
        run_sql(url=database.application_url, script=f"{statement};")
