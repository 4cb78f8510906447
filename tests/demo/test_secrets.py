"""What the demonstration can say again is kept in a file of its owner."""

import stat
from pathlib import Path

from msgspec.structs import replace

from wallet.demo.secrets import DemoSecrets, read_secrets, write_secrets

SECRETS = DemoSecrets(
    seed=7,
    wallets=50,
    shops=10,
    merchant_id="mer_1",
    terminal_id="ter_1",
    wallet_id="wal_1",
    api_key="sk_test_1",
    card_number="123456789012",
    card_value="card_1",
)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "demo.json"
    write_secrets(path, SECRETS)
    assert read_secrets(path) == SECRETS
    write_secrets(path, replace(SECRETS, api_key="sk_test_2"))
    assert read_secrets(path) == replace(SECRETS, api_key="sk_test_2")


def test_nobody_but_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    path.touch(mode=0o644)  # Whoever made it wider before.
    write_secrets(path, SECRETS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_an_interruption_has_left_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    path.with_suffix(".new").write_text("{", encoding="utf-8")
    write_secrets(path, SECRETS)
    assert read_secrets(path) == SECRETS
    assert [one.name for one in tmp_path.iterdir()] == ["demo.json"]


def test_a_file_that_cannot_be_read_is_as_none_at_all(tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    assert read_secrets(path) is None
    for content in ("", "{", "[]", '{"seed": 7}', "\0"):
        path.write_text(content, encoding="utf-8")
        assert read_secrets(path) is None
