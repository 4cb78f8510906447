"""The direction of imports is law, and the law is seen to be enforced."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts on the package in a folder."""
    command = (
        sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()",
        "--no-cache", "--no-logo", "--config", str(folder / "pyproject.toml"),
    )  # fmt: skip
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the package to plant violations in."""
    shutil.copytree(ROOT / "wallet", tmp_path / "wallet")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_import_goes_down() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("room", "line", "contract"),
    [
        ("ledger", "import wallet.payments.rules", "Imports only go down"),
        ("payments", "import wallet.vouchers", "Imports only go down"),
        ("payments", "import fastapi", "HTTP stays at the doors"),
        ("payments/rules", "import sqlalchemy", "Rules know no database"),
        ("lottery", "", "Imports only go down"),
    ],
)
def test_a_planted_violation_is_caught(copy: Path, room: str, line: str, contract: str) -> None:
    planted = copy / "wallet" / (f"{room}.py" if "/" in room else f"{room}/planted.py")
    planted.parent.mkdir(exist_ok=True)
    (planted.parent / "__init__.py").touch()
    content = planted.read_text(encoding="utf-8") if planted.exists() else ""
    planted.write_text(f"{content}\n{line}\n", encoding="utf-8")
    done = lint_imports(copy)
    assert done.returncode == 1, done.stdout
    verdicts = [text for text in done.stdout.splitlines() if text.startswith(contract)]
    assert any("BROKEN" in verdict for verdict in verdicts), done.stdout
