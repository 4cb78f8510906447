"""A small demonstration city, seeded from the shell, for every command to work on."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import Shell
from tests.servers import Database


@pytest.fixture(scope="module")
def shell(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Return a shell on a database of the module's own."""
    data: Path = tmp_path_factory.mktemp("data")
    return Shell(module_database.application_url, module_database.owner_url, data)


@pytest.fixture(scope="module")
def secrets(shell: Shell) -> dict[str, Any]:
    """Seed the city and return the keys to it."""
    told = shell.json("demo", "seed", DEMO_WALLETS="30", DEMO_SHOPS="8")
    secrets: dict[str, Any] = told["secrets"]
    return secrets
