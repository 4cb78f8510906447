"""The identity app's client is what the settings say, or the process does not start."""

from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from wallet.people.identity_app import Client, challenge_of
from wallet.settings import Settings

KEYS = {
    "another curve": ECKey.generate_key("P-384").as_pem(private=True),
    "a public key": ECKey.generate_key("P-256").as_pem(private=False),
    "no key": b"no key",
}


def test_the_challenge_is_that_of_the_standard() -> None:
    # RFC 7636, appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_settings_describe_the_client(tmp_path: Path) -> None:
    path = tmp_path / "client.pem"
    path.write_bytes(ECKey.generate_key("P-256").as_pem(private=True))
    settings = Settings(identity_issuer="https://op.example", identity_key=path)
    client = Client.of(settings)
    assert client is not None
    assert client.issuer == "https://op.example"
    assert Client.of(Settings()) is None


@pytest.mark.parametrize("what", KEYS)
def test_a_key_that_cannot_sign_for_the_client_is_refused_at_the_start(
    tmp_path: Path, what: str
) -> None:
    path = tmp_path / "client.pem"
    path.write_bytes(KEYS[what])
    with pytest.raises(ValueError, match="holds no"):
        Client.of(Settings(identity_issuer="https://op.example", identity_key=path))
