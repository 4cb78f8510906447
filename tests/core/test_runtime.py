"""Where a process finds its database and its pepper: given, or made on the spot and kept."""

from typing import Any

import pytest
from pydantic import SecretStr

from tests.embedded.conftest import temporary_folder
from wallet.core import embedded
from wallet.core.embedded.databases import run_sql
from wallet.core.runtime import MissingPepperError, open_runtime
from wallet.settings import Settings

OWNER, APPLICATION = "postgresql://owner@127.0.0.1/city", "postgresql://app@127.0.0.1/city"


def settings(**fields: Any) -> Settings:  # noqa: ANN401 - fields of many types
    """Return settings that the environment has no say in."""
    plain: dict[str, Any] = {"database_url": "", "database_owner_url": "", "pepper": SecretStr("")}
    return Settings.model_construct(**{**plain, **fields})


def test_a_given_database_is_used_with_the_given_pepper() -> None:
    given = settings(database_url=APPLICATION, database_owner_url=OWNER, pepper=SecretStr("p" * 40))
    with open_runtime(given) as runtime:
        assert (runtime.database_url, runtime.owner_url) == (APPLICATION, OWNER)
        assert runtime.pepper == b"p" * 40


def test_a_given_database_has_one_role_unless_two_are_given() -> None:
    with open_runtime(settings(database_url=OWNER, pepper=SecretStr("p" * 40))) as runtime:
        assert (runtime.database_url, runtime.owner_url) == (OWNER, OWNER)


@pytest.mark.asvs("v5.0.0-13.2.3")
def test_a_given_database_without_a_pepper_is_refused_with_what_to_do() -> None:
    with (
        pytest.raises(MissingPepperError, match="Set it to 32 or more random characters"),
        open_runtime(settings(database_url=OWNER)),
    ):
        pytest.fail("it has started")


def test_no_more_of_a_pepper_is_used_than_the_hash_can_take() -> None:
    with open_runtime(settings(database_url=OWNER, pepper=SecretStr("é" * 60))) as runtime:
        assert runtime.pepper == ("é" * 32).encode()


def test_an_embedded_server_is_started_and_stopped_again_by_whoever_started_it() -> None:
    with temporary_folder() as folder:
        rehearsal = settings(data_directory=folder.parent)
        given = settings(data_directory=folder.parent, pepper=SecretStr("p" * 40))
        with open_runtime(given) as outer:
            assert run_sql(url=outer.database_url, script="SELECT 1;").strip() == "1"
            assert outer.pepper == b"p" * 40
            assert not (folder.parent / "pepper").exists()
            with open_runtime(rehearsal) as inner, open_runtime(rehearsal) as again:
                assert inner.database_url == again.database_url == outer.database_url
            assert run_sql(url=outer.owner_url, script="SELECT 2;").strip() == "2"
        assert embedded.status(data_directory=folder) is None
        kept = folder.parent / "pepper"
        assert inner.pepper == again.pepper == kept.read_text().encode()
        assert len(inner.pepper) == 64
        assert kept.stat().st_mode & 0o777 == 0o600
