"""A data folder for the benchmark, which starts a server of its own in it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from wallet.core import embedded


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """Yield a data folder, gone again afterwards with the server in it."""
    folder = Path(tempfile.mkdtemp(prefix="wallet-", dir="/tmp"))  # Short enough for a socket.
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        embedded.stop(data_directory=folder / "bench-postgres")
        shutil.rmtree(folder)
