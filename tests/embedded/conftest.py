"""Data folders of clusters that a test may kill."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wallet.core import embedded


@contextmanager
def temporary_folder(*, mode: int = 0o755) -> Iterator[Path]:
    """Yield a data folder that is stopped and removed afterwards, wherever its cluster went."""
    parent = Path(tempfile.mkdtemp(prefix="wallet-", dir="/tmp"))  # Short enough for a socket.
    parent.chmod(mode)
    folder = parent / "postgres"
    try:
        yield folder
    finally:
        embedded.stop(data_directory=folder)
        if (folder / "cluster").is_symlink():
            shutil.rmtree((folder / "cluster").resolve().parent)
        shutil.rmtree(parent)


@pytest.fixture(scope="module")
def shared_folder() -> Iterator[Path]:
    """Yield the data folder of a module; its cluster is made by the first start."""
    with temporary_folder() as folder:
        yield folder


@pytest.fixture
def cluster(shared_folder: Path) -> embedded.Cluster:
    """Return the module's cluster, running."""
    return embedded.start(data_directory=shared_folder)
