"""Configuration: from the environment, with units and bounds, read once."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from wallet.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests begin without any of the variables."""
    for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "WALLET_DATA", "WALLET_PEPPER"):
        monkeypatch.delenv(name, raising=False)


def test_without_any_variable_it_is_a_rehearsal_on_loopback() -> None:
    settings = Settings()
    assert (settings.livemode, settings.host, settings.database_url) == (False, "127.0.0.1", "")
    assert settings.data_directory == Path(".data")


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://app@db/wallet")
    monkeypatch.setenv("DATABASE_OWNER_URL", "postgresql://owner@db/wallet")
    monkeypatch.setenv("WALLET_DATA", "elsewhere")
    monkeypatch.setenv("WALLET_LIVEMODE", "true")
    monkeypatch.setenv("WALLET_TELLER_QUEUE_MAX", "5")
    settings = Settings()
    assert settings.database_url == "postgresql://app@db/wallet"
    assert settings.database_owner_url == "postgresql://owner@db/wallet"
    assert settings.data_directory == Path("elsewhere")
    assert (settings.livemode, settings.teller_queue_max) == (True, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WALLET_PORT", "0"),
        ("WALLET_TELLER_QUEUE_MAX", "0"),
        ("WALLET_TELLER_BATCH_MAX", "513"),
        ("WALLET_API_KEY_CACHE_S", "2.6"),
        ("WALLET_LIVEMODE", "perhaps"),
        ("WALLET_POOL_SIZE", "many"),
    ],
)
def test_a_value_out_of_bounds_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.removeprefix("WALLET_").lower()):
        Settings()


@pytest.mark.asvs("v5.0.0-13.3.2")
def test_the_pepper_does_not_show_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WALLET_PEPPER", "a-very-secret-pepper")
    settings = Settings()
    assert "very-secret" not in repr(settings)
    assert settings.pepper.get_secret_value() == "a-very-secret-pepper"


def test_settings_cannot_be_changed_while_the_process_runs() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, "port", 1)  # noqa: B010 - as a careless caller would, past the types


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read_settings.cache_clear()
    first = read_settings()
    monkeypatch.setenv("WALLET_PORT", "9999")
    assert read_settings() is first
    read_settings.cache_clear()
