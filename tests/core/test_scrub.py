"""Nothing secret and nothing personal leaves in a log, whoever writes it and however."""

import io
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from uuid import uuid4

import pyotp
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from wallet.auth.tokens import TokenKind, make_token
from wallet.cli.processes import server_config
from wallet.core.ids import new_id, new_secret, public_id
from wallet.core.my_number import my_number_check_digit
from wallet.core.scrub import begin_logging, contains_personal, scrub

NOW_US = 1_795_575_600_000_000
TOKEN = make_token(
    TokenKind.ACCESS, session_id=uuid4(), generation=3, salt=bytes(16), pepper=bytes(32)
)

PERSONAL = {
    "123456789018": "[number]",
    "1234 5678 9018": "[number]",
    "1234-5678-9018": "[number]",
    "１２３４５６７８９０１８": "[number]",
    "taro.himeji+wallet@mail.example.jp": "[e-mail]",
    "taro＠example.jp": "[e-mail]",
    "090-1234-5678": "[phone]",
    "09012345678": "[phone]",
    "(079) 221-2111": "[phone]",
    "０７９ー２２１ー２１１１": "[phone]",
    "+81 90 1234 5678": "[phone]",
    "+819012345678": "[phone]",
    new_secret("sk_live_"): "[secret]",
    new_secret("sk_test_"): "[secret]",
    new_secret("code_"): "[secret]",
    new_secret("card_"): "[secret]",
    TOKEN: "[secret]",
    TOKEN.replace("at_", "rt_", 1): "[secret]",
    pyotp.random_base32(): "[secret]",
    "otpauth://totp/City:taro?secret=JBSWY3DPEHPK3PXP&issuer=City": "[secret]",
    "0K7M-3P2Q-9XYZ-A1B2-C3D4-E5F6": "[secret]",
    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ0YXJvIn0.c2lnbmF0dXJl": "[secret]",
    "-----BEGIN PRIVATE KEY-----\nMIGHAgEA\n-----END PRIVATE KEY-----": "[secret]",
}

HARMLESS = (
    "",
    "a payment of 1,200 yen at 2026-11-25T03:00:00.000Z took 12.5 ms",
    public_id("pay", new_id(now_us=NOW_US)),
    f"req_{'0123456789018'.zfill(32)}",
    "stf_00000000000000000000123456789018",
    "00000000-0000-0000-0000-123456789018",
    "card_payment_limit_yen code_unknown card_blocked at_least rt_",
    "6f1ed002ab5595859014ebf0951522d9a1b2c3d4e5f60718293a4b5c6d7e8f90",
    "123456789017",
    "1795575600000000",
    "0.0123456789",
    "INTERNATIONALIZATION",
    "postgresql://wallet_app@127.0.0.1:5432/wallet",
    "お金は守られています。10:20から止めています。",
)


@pytest.mark.asvs("v5.0.0-16.2.5")
@pytest.mark.parametrize(("written", "mark"), PERSONAL.items())
@pytest.mark.parametrize("around", ["{}", "before {} after", "「{}」です", "a='{}', b=1"])
def test_what_must_not_be_kept_is_masked(written: str, mark: str, around: str) -> None:
    assert scrub(around.format(written)) == around.format(mark)
    assert contains_personal(around.format(written))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert scrub(text) == text
    assert not contains_personal(text)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "DPoP"])
def test_whatever_is_a_credential_by_its_place_is_masked(scheme: str) -> None:
    text = f"authorization: {scheme} 0123456789abcdefXYZ"
    assert scrub(text) == "authorization: [secret]"


def test_the_password_in_a_url_is_masked_and_the_host_is_not() -> None:
    scrubbed = scrub("cannot connect to postgresql://wallet_app:hunter2@db.example:5432/wallet")
    assert "hunter2" not in scrubbed
    assert "cannot connect to postgresql://" in scrubbed


def test_everything_in_a_line_is_masked() -> None:
    line = "taro@example.jp called from 079-221-2111 about 123456789018"
    assert scrub(line) == "[e-mail] called from [phone] about [number]"


@given(st.integers(0, 10**11 - 1), st.text(max_size=20), st.text(max_size=20))
def test_no_my_number_gets_through(first: int, before: str, after: str) -> None:
    first_eleven = f"{first:011}"
    number = f"{first_eleven}{my_number_check_digit(first_eleven)}"
    assert number not in scrub(f"{before} {number}、{after}")


@given(st.text())
def test_what_was_scrubbed_has_nothing_left_to_scrub(text: str) -> None:
    once = scrub(text)
    assert scrub(once) == once
    assert not contains_personal(once)


@pytest.mark.asvs("v5.0.0-15.2.2")
@pytest.mark.parametrize(
    "piece",
    ["a@", "!@a.", "eyJ.", "eyJa-", "0 ", "1 2-", "-----BEGIN PRIVATE KEY-----", "bearer ", "a.b",
     "://a:", "AAAA-", "0123456789", "sk_live_"],
)  # fmt: skip
def test_nobody_can_make_scrubbing_slow(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    begun = time.perf_counter()
    scrub(text)
    assert time.perf_counter() - begun < 2.0


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Yield what the process logs, as every process of ours begins to; put back afterwards."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    root.handlers.clear()
    begin_logging(stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook = hook


@pytest.mark.asvs("v5.0.0-16.2.5")
def test_messages_arguments_and_tracebacks_are_scrubbed(stream: io.StringIO) -> None:
    logger = logging.getLogger("wallet.anything")
    logger.warning("mail to %s: %s", "taro@example.jp", {"number": "123456789018"})
    try:
        int("no holder has the telephone 090-1234-5678")
    except ValueError:
        logger.exception("failed for %(key)s", {"key": new_secret("sk_live_")})
    told = stream.getvalue()
    assert "WARNING wallet.anything: mail to [e-mail]: {'number': '[number]'}" in told
    assert "ERROR wallet.anything: failed for [secret]" in told
    assert "no holder has the telephone [phone]" in told


def test_a_line_is_scrubbed_whoever_writes_it(stream: io.StringIO) -> None:
    logging.getLogger("asyncio").error("taro@example.jp")
    logging.getLogger("uvicorn.error").error("taro@example.jp", stack_info=True)
    assert stream.getvalue().count("[e-mail]") >= 2
    assert "taro@" not in stream.getvalue().replace('"taro@example.jp"', "")


@pytest.mark.asvs("v5.0.0-16.4.1")
def test_nobody_can_write_a_line_of_their_own(stream: io.StringIO) -> None:
    logging.getLogger("wallet").warning("no such code: %s", "a\r\nERROR wallet: all is lost\x1b[2J")
    assert stream.getvalue() == (
        "WARNING wallet: no such code: a\\r\\nERROR wallet: all is lost\\x1b[2J\n"
    )


def test_what_is_not_worth_a_warning_is_not_logged(stream: io.StringIO) -> None:
    logging.getLogger("wallet").info("nothing happened")
    assert stream.getvalue() == ""


def test_the_server_brings_no_handler_of_its_own() -> None:
    async def nothing(*_: object) -> None:
        raise AssertionError

    config = uvicorn.Config(nothing, **server_config(host="127.0.0.1", port=0))
    config.configure_logging()
    for name in ("uvicorn", "uvicorn.error"):
        assert logging.getLogger(name).propagate
    # Addresses of callers are nobody's business: requests are not logged at all.
    assert config.access_log is False
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        assert not logging.getLogger(name).handlers


PROCESS = """
import logging, sys
from wallet import cli
def command():
    logging.getLogger("a.room").warning("for taro@example.jp")
    raise ValueError("090-1234-5678")
cli.application = command
cli.main()
"""


@pytest.mark.asvs("v5.0.0-16.2.3")
@pytest.mark.asvs("v5.0.0-16.2.5")
def test_every_process_logs_scrubbed_from_its_first_line_to_its_last() -> None:
    done = subprocess.run(
        (sys.executable, "-c", PROCESS), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "WARNING a.room: for [e-mail]" in done.stderr
    assert "ValueError: [phone]" in done.stderr
    assert "taro@" not in done.stderr
