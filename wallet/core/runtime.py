"""Where a process finds its database and its pepper: given, or embedded and made on the spot."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from wallet.core import embedded
from wallet.settings import Settings, read_settings

PEPPER_BYTES = 32


class MissingPepperError(RuntimeError):
    """A given database needs a given pepper: every process must hash secrets alike."""


class Runtime(msgspec.Struct, frozen=True):
    """What a process needs to begin: addresses of the database by role, and the pepper."""

    settings: Settings
    database_url: str
    owner_url: str
    pepper: bytes


@contextmanager
def open_runtime(settings: Settings | None = None) -> Iterator[Runtime]:
    """Yield the runtime; start the embedded PostgreSQL unless ``DATABASE_URL`` is given.

    What was started here is stopped again at the end; a server that was running goes on. Call it
    before an event loop turns. Raises :class:`MissingPepperError` when a database is given
    without ``WALLET_PEPPER``, and :class:`~wallet.core.embedded.EmbeddedPostgresError` when the
    embedded server will not start.
    """
    settings = settings or read_settings()
    if settings.database_url:
        owner_url = settings.database_owner_url or settings.database_url
        yield Runtime(settings, settings.database_url, owner_url, _given_pepper(settings))
        return
    folder = settings.data_directory / "postgres"
    was_running = embedded.status(data_directory=folder) is not None
    server = embedded.start(data_directory=folder)
    try:
        yield Runtime(settings, server.application_url, server.owner_url, _own_pepper(settings))
    finally:
        if not was_running:
            embedded.stop(data_directory=folder)


def _given_pepper(settings: Settings) -> bytes:
    pepper = settings.pepper.get_secret_value()
    if not pepper:
        message = (
            "DATABASE_URL is set but WALLET_PEPPER is not. Set it to 32 or more random characters,"
            " the same for every process; API keys, codes and cards are hashed under it."
        )
        raise MissingPepperError(message)
    return pepper.encode()[:64]


def _own_pepper(settings: Settings) -> bytes:
    """Return the installation's own pepper, made on first use and readable by its owner only."""
    if settings.pepper.get_secret_value():
        return _given_pepper(settings)
    path: Path = settings.data_directory / "pepper"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            path.chmod(0o600)
            file.write(secrets.token_hex(PEPPER_BYTES))
    except FileExistsError:
        pass
    return path.read_text().strip().encode()
