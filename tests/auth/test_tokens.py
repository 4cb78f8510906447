"""Tokens: what each part of one protects, and that nothing of them is stored."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.moments import PEPPER
from tests.factories.phones import make_phone
from wallet.auth.tokens import Token, TokenKind, is_genuine, make_token, parse_token
from wallet.core.database import read

SESSION_ID = UUID("01a210a5-5380-7000-8e4d-530d6d96f967")
SALT = bytes(range(16))
ACCESS = make_token(TokenKind.ACCESS, session_id=SESSION_ID, generation=7, salt=SALT, pepper=PEPPER)


def parsed(text: str = ACCESS) -> Token:
    """Return what an access token says, or fail the test."""
    token = parse_token(text, kind=TokenKind.ACCESS)
    assert token is not None
    return token


def test_a_token_says_its_session_and_generation_and_is_ours() -> None:
    token = parsed()
    assert (token.session_id, token.generation) == (SESSION_ID, 7)
    assert is_genuine(token, salt=SALT, pepper=PEPPER)


@pytest.mark.asvs("v5.0.0-9.1.1")
def test_whatever_is_changed_in_a_token_makes_it_foreign() -> None:
    token = parsed()
    spoilt = [
        replace(token, kind=TokenKind.REFRESH),
        replace(token, session_id=uuid4()),
        replace(token, generation=8),
        replace(token, mac="A" * 43),
    ]
    assert not any(is_genuine(one, salt=SALT, pepper=PEPPER) for one in spoilt)
    assert not is_genuine(token, salt=bytes(16), pepper=PEPPER)
    assert not is_genuine(token, salt=SALT, pepper=PEPPER + b"x")


@pytest.mark.parametrize("generation", [0, -1, 10**9])
def test_a_generation_that_cannot_be_is_not_even_the_form_of_one(generation: int) -> None:
    changed = ACCESS.replace("_7_", f"_{generation}_")
    assert parse_token(changed, kind=TokenKind.ACCESS) is None


@pytest.mark.asvs("v5.0.0-9.2.2")
def test_one_kind_of_token_is_never_read_as_the_other() -> None:
    assert parse_token(ACCESS, kind=TokenKind.REFRESH) is None


@given(st.text(max_size=140) | st.text(alphabet="at_r0123456789abcdef", max_size=140))
def test_no_other_text_is_a_token(other: str) -> None:
    assert parse_token(other, kind=TokenKind.ACCESS) is None


@pytest.mark.attack(5)
@pytest.mark.asvs("v5.0.0-7.2.3")
async def test_a_stolen_table_has_no_token_in_it(engine: AsyncEngine) -> None:
    phone = await make_phone(engine)
    async with read(engine) as connection:
        rows = (await connection.execute(text("SELECT s::text FROM session AS s"))).scalars()
        stored = "".join(rows)
    for token in (phone.tokens.access_token, phone.tokens.refresh_token):
        mac = token.split("_", 3)[3]
        assert mac not in stored
    assert phone.tokens.session_id.hex in stored.replace("-", "")
