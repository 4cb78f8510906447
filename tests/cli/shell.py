"""The command line as operations uses it: a process, its words, and its exit status."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.factories.moments import PEPPER
from tests.servers import ROOT

WALLET = Path(sys.executable).with_name("wallet")
TIMEOUT_S = 60


@dataclass(frozen=True)
class Shell:
    """A shell in which the database and the secrets are set."""

    database_url: str
    owner_url: str
    data: Path

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run ``wallet`` to its end, whatever that is."""
        environment = {
            **os.environ,
            "DATABASE_URL": self.database_url,
            "DATABASE_OWNER_URL": self.owner_url,
            "WALLET_PEPPER": PEPPER.decode(),
            "WALLET_DATA": str(self.data),
            **variables,
        }
        return subprocess.run(
            (WALLET, *arguments),
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def json(self, *arguments: str, **variables: str) -> dict[str, Any]:
        """Run ``wallet … --json``, which must succeed, and return its one object."""
        done = self.run(*arguments, "--json", **variables)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told
