"""All configuration, read once from the environment (prefix ``WALLET_``) when a process starts.

Nothing else reads environment variables: a value that matters is here, with its unit and its
default, or it is not configurable.
"""

from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Configuration of one process.

    ``database_url`` is the application's connection, ``database_owner_url`` the one migrations
    use. Both empty means the embedded PostgreSQL under ``data_directory``.
    """

    model_config = SettingsConfigDict(env_prefix="WALLET_", extra="ignore", frozen=True)

    database_url: str = Field("", validation_alias=AliasChoices("DATABASE_URL"))
    database_owner_url: str = Field("", validation_alias=AliasChoices("DATABASE_OWNER_URL"))
    data_directory: Path = Field(Path(".data"), validation_alias=AliasChoices("WALLET_DATA"))

    # One installation is either live or a rehearsal: test keys never meet live money.
    livemode: bool = False
    # Keys the hashes of API keys, one-time codes and cards; losing it voids every one of them.
    # Empty lets the embedded installation make its own and keep it in the data directory.
    pepper: SecretStr = SecretStr("")

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    # Addresses or networks, with commas between, whose X-Forwarded-For says where a caller is.
    # Empty believes nobody: then a caller's address is the one the connection comes from.
    trusted_proxies: str = ""

    # Bounds of the till.
    teller_queue_max: int = Field(2_000, ge=1)
    teller_batch_max: int = Field(128, ge=1, le=512)
    api_key_cache_s: float = Field(2.0, ge=0, le=2.5)
    body_bytes_max: int = Field(16_384, ge=1_024)
    pool_size: int = Field(4, ge=1, le=32)

    # Passkeys belong to this site, and only these pages may ask for them (WebAuthn's rpId, origin).
    passkey_site: str = "localhost"
    passkey_site_name: str = "City Wallet"
    passkey_origins: tuple[str, ...] = ("http://localhost:8000",)

    # What a password's hash costs, and how many of them one process computes and queues.
    argon2_memory_kib: int = Field(19_456, ge=8)
    argon2_passes: int = Field(2, ge=1)
    hash_workers: int = Field(0, ge=0, description="0: half the cores")
    hash_queue_max: int = Field(50, ge=1)
    hash_wait_s: float = Field(2.0, gt=0, le=10)
    # The operator's copy of the Pwned Passwords list, as its downloader writes it; None: without.
    breached_passwords: Path | None = None

    # The national identity app (OpenID Connect); without an issuer there is none.
    identity_issuer: str = ""
    identity_client_id: str = ""
    identity_key: Path | None = Field(None, description="PEM of the client's P-256 private key")
    identity_redirect_url: str = ""
    identity_acr_values: str = "aal3 crl"
    identity_acr: str = Field("aal3", description="the level its answers must have")
    # All calls of one answer together; a phone waits that long at most, a till never.
    identity_timeout_s: float = Field(5.0, gt=0, le=10)
    # Who lives here, as addresses are written: the prefecture, then the municipality.
    region: str = "兵庫県"
    municipality: str = "姫路市"

    support_phone: str = "0120-000-000"
    documentation_url: str = "/errors"

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, proxies: str) -> str:
        """Refuse a name, a star and every address there is: whoever is believed is known."""
        for one in proxies.split(",") if proxies else ():
            if not ip_network(one.strip()).prefixlen:
                message = f"{one.strip()} is everybody"
                raise ValueError(message)
        return proxies


@lru_cache(maxsize=1)
def read_settings() -> Settings:
    """Return the process's settings; reads the environment on the first call only."""
    return Settings()
