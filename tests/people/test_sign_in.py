"""Signing in again: a known device by its key, a new one by a passkey or an invitation only."""

import secrets
from collections.abc import AsyncIterator
from uuid import UUID

import pyotp
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.factories.factors import cheap_gate
from tests.factories.moments import NOW, NOW_US, PEPPER
from tests.factories.phones import Phone, call, caller_of, events_of
from tests.factories.residents import (
    PIN,
    Resident,
    contact,
    make_resident,
    make_visitor,
    person_of,
    within,
)
from tests.soft_authenticator import SoftAuthenticator
from tests.soft_device import SoftDevice
from wallet.auth.hash_gate import HashGate
from wallet.auth.passkeys import (
    REFUSED,
    Site,
    begin_passkey_registration,
    begin_passkey_sign_in,
    finish_passkey_registration,
)
from wallet.auth.password_quality import Owner
from wallet.auth.passwords import WRONG, set_password
from wallet.auth.proofs import Proof
from wallet.auth.recovery_codes import issue_recovery_codes
from wallet.auth.revoke_device import revoke_device
from wallet.auth.rules import Acr, reached
from wallet.auth.totp import confirm_totp, enrol_totp
from wallet.core.clock import MICROSECONDS
from wallet.core.refusals import Refusal, RefusedError
from wallet.people import device_invitations
from wallet.people.device_invitations import (
    EXPIRES_S,
    InvitedBy,
    accept_invitation,
    invite_device,
)
from wallet.people.rules import Contact
from wallet.people.sign_in import (
    UNKNOWN,
    PasswordTry,
    SecondFactor,
    SignedIn,
    sign_in_by_device,
    sign_in_by_passkey,
    sign_in_by_password,
)
from wallet.settings import Settings

SITE = Site.of(Settings())
PASSWORD = "gentle otters fold maps"


async def by_device(
    engine: AsyncEngine, soft: SoftDevice, *, pin: str | None = None
) -> SignedIn | Refusal:
    """Sign in with a phone's key."""
    return await within(
        engine,
        lambda connection: sign_in_by_device(
            connection, public_key=soft.key.public_key, pin=pin, pepper=PEPPER, now_us=NOW_US
        ),
    )


async def levels_of(engine: AsyncEngine, soft: SoftDevice, signed: SignedIn) -> frozenset[Acr]:
    """Return what a new session reaches."""
    phone = Phone(
        principal_id=signed.person_id, device_id=signed.device_id, tokens=signed.tokens, soft=soft
    )
    caller = await caller_of(engine, phone)
    return reached(caller.classes, now_us=NOW_US, max_age_s=300)


async def test_a_phone_that_was_away_signs_in_by_its_key(city: AsyncEngine) -> None:
    resident = await make_resident(city)
    signed = await by_device(city, resident.phone.soft)
    assert isinstance(signed, SignedIn)
    assert (signed.person_id, signed.device_id) == (resident.id, resident.phone.device_id)
    assert await levels_of(city, resident.phone.soft, signed) == {Acr.DEV}
    with_pin = await by_device(city, resident.phone.soft, pin=PIN)
    assert isinstance(with_pin, SignedIn)
    assert await levels_of(city, resident.phone.soft, with_pin) == {Acr.DEV, Acr.PIN}


async def test_a_wrong_pin_opens_no_session(city: AsyncEngine) -> None:
    resident = await make_resident(city)
    assert await by_device(city, resident.phone.soft, pin="918273") == Refusal("pin_wrong")


@pytest.mark.attack(4)
async def test_a_phone_nobody_enrolled_is_refused_like_one_that_was_revoked(
    city: AsyncEngine,
) -> None:
    resident = await make_resident(city)
    await within(
        city,
        lambda connection: revoke_device(
            connection,
            principal_id=resident.id,
            device_id=resident.phone.device_id,
            because="a test",
            now_us=NOW_US,
        ),
    )
    assert await by_device(city, resident.phone.soft) == UNKNOWN
    assert await by_device(city, SoftDevice()) == UNKNOWN


async def with_passkey(engine: AsyncEngine, resident: Resident) -> SoftAuthenticator:
    """Give somebody a passkey."""
    authenticator = SoftAuthenticator()

    async def register(connection: AsyncConnection) -> None:
        options = await begin_passkey_registration(
            connection,
            site=SITE,
            principal_id=resident.id,
            user_name="wallet",
            pepper=PEPPER,
            now_us=NOW_US,
        )
        await finish_passkey_registration(
            connection,
            site=SITE,
            principal_id=resident.id,
            credential=authenticator.create(options),
            name="key",
            pepper=PEPPER,
            now_us=NOW_US,
        )

    await within(engine, register)
    return authenticator


async def by_passkey(
    engine: AsyncEngine, authenticator: SoftAuthenticator, soft: SoftDevice
) -> SignedIn | Refusal:
    """Sign in with a passkey on a phone."""
    options = begin_passkey_sign_in(site=SITE, pepper=PEPPER, now_us=NOW_US)
    return await within(
        engine,
        lambda connection: sign_in_by_passkey(
            connection,
            credential=authenticator.get(options),
            new=soft.new_device(),
            site=SITE,
            pepper=PEPPER,
            now_us=NOW_US,
        ),
    )


@pytest.mark.attack(6)
async def test_a_passkey_lets_a_new_phone_in_and_everything_cools_off(city: AsyncEngine) -> None:
    resident, soft = await make_resident(city), SoftDevice()
    authenticator = await with_passkey(city, resident)
    signed = await by_passkey(city, authenticator, soft)
    assert isinstance(signed, SignedIn)
    assert signed.device_id != resident.phone.device_id
    assert Acr.PHR in await levels_of(city, soft, signed)
    assert (await person_of(city, resident.id)).cools_off(now_us=NOW_US)
    events = dict(await events_of(city, resident.id))
    assert events["security.device_added"]["told_device_ids"] == [str(resident.phone.device_id)]
    assert not isinstance(await call(city, resident.phone), Refusal)


async def test_a_passkey_on_the_phone_it_knows_cools_nothing_off(city: AsyncEngine) -> None:
    resident = await make_resident(city)
    authenticator = await with_passkey(city, resident)
    signed = await by_passkey(city, authenticator, resident.phone.soft)
    assert isinstance(signed, SignedIn)
    assert signed.device_id == resident.phone.device_id
    assert not (await person_of(city, resident.id)).cools_off(now_us=NOW_US)


@pytest.mark.attack(7)
async def test_a_passkey_that_a_phishing_page_asked_opens_nothing(city: AsyncEngine) -> None:
    resident = await make_resident(city)
    authenticator = await with_passkey(city, resident)
    authenticator.origin = "https://wallet.example.jp.evil.example"
    assert await by_passkey(city, authenticator, SoftDevice()) == REFUSED


async def invited(engine: AsyncEngine, person_id: UUID, invited_by: InvitedBy = "device") -> str:
    """Invite a further device."""
    return await within(
        engine,
        lambda connection: invite_device(
            connection, person_id=person_id, invited_by=invited_by, pepper=PEPPER, now_us=NOW_US
        ),
    )


async def accepted(
    engine: AsyncEngine, code: str, soft: SoftDevice, *, now_us: int = NOW_US
) -> SignedIn | Refusal:
    """Answer an invitation."""
    return await within(
        engine,
        lambda connection: accept_invitation(
            connection,
            code=code,
            new=soft.new_device(),
            address=None,
            pepper=PEPPER,
            now_us=now_us,
        ),
    )


@pytest.mark.parametrize("invited_by", ["device", "counter"])
async def test_an_invited_phone_comes_in_once_and_everything_cools_off(
    city: AsyncEngine, invited_by: InvitedBy
) -> None:
    resident = await make_resident(city)
    code = await invited(city, resident.id, invited_by)
    signed = await accepted(city, code, SoftDevice())
    assert isinstance(signed, SignedIn)
    assert signed.person_id == resident.id
    assert (await person_of(city, resident.id)).cools_off(now_us=NOW_US)
    assert await accepted(city, code, SoftDevice()) == device_invitations.UNKNOWN


async def test_an_invitation_is_void_when_it_is_late_or_another_was_made(
    city: AsyncEngine,
) -> None:
    resident = await make_resident(city)
    first = await invited(city, resident.id)
    second = await invited(city, resident.id)
    late_us = NOW_US + EXPIRES_S["device"] * MICROSECONDS
    assert await accepted(city, first, SoftDevice()) == device_invitations.UNKNOWN
    assert await accepted(city, second, SoftDevice(), now_us=late_us) == device_invitations.UNKNOWN
    assert await accepted(city, "invite_nobody", SoftDevice()) == device_invitations.UNKNOWN
    assert isinstance(await accepted(city, second, SoftDevice()), SignedIn)


async def test_a_phone_that_is_somebody_elses_is_not_taken_in(city: AsyncEngine) -> None:
    resident, other = await make_resident(city), await make_resident(city)
    code = await invited(city, resident.id)
    with pytest.raises(RefusedError, match="device_key_taken"):
        await accepted(city, code, other.phone.soft)


@pytest.fixture
async def gate() -> AsyncIterator[HashGate]:
    """Yield a gate at no cost."""
    async with cheap_gate() as gate:
        yield gate


class Desktop:
    """A desktop that was enrolled, with a password, an authenticator app and a sheet of paper."""

    def __init__(self, resident: Resident, secret: str, sheet: list[str], mail: Contact) -> None:
        self.resident = resident
        self.sheet = sheet
        self.mail = mail
        self._secret = secret

    def code(self) -> str:
        """Return the code that the app shows; each is good once."""
        return pyotp.TOTP(self._secret).at(NOW_US // MICROSECONDS)


async def make_desktop(engine: AsyncEngine, gate: HashGate, email: str) -> Desktop:
    """Enrol somebody who uses a desktop."""
    visitor = await make_visitor(engine, email)
    owner = Owner(known=(email,), second_factor=True)
    await set_password(
        engine,
        gate=gate,
        principal_id=visitor.id,
        password=PASSWORD,
        owner=owner,
        breached=None,
        pepper=PEPPER,
        now_us=NOW_US,
    )
    enrolment = await within(
        engine,
        lambda connection: enrol_totp(
            connection,
            principal_id=visitor.id,
            account_name="wallet",
            issuer="City",
            pepper=PEPPER,
            now_us=NOW_US,
        ),
    )
    first = pyotp.TOTP(enrolment.secret).at(NOW_US // MICROSECONDS - 30)
    assert not await within(
        engine,
        lambda connection: confirm_totp(
            connection, principal_id=visitor.id, code=first, pepper=PEPPER, now_us=NOW_US
        ),
    )
    sheet = await within(
        engine,
        lambda connection: issue_recovery_codes(
            connection, principal_id=visitor.id, pepper=PEPPER, now_us=NOW_US
        ),
    )
    return Desktop(visitor, enrolment.secret, sheet, contact(email))


async def by_password(
    engine: AsyncEngine,
    gate: HashGate,
    desktop: Desktop,
    *,
    second: SecondFactor,
    password: str = PASSWORD,
    soft: SoftDevice | None = None,
) -> SignedIn | Refusal:
    """Sign in by password."""
    given = PasswordTry(
        contact=desktop.mail,
        password=password,
        second=second,
        public_key=(soft or desktop.resident.phone.soft).key.public_key,
        proof=Proof(secrets.token_bytes(32), NOW),
        address="203.0.113.9",
    )
    return await sign_in_by_password(engine, gate=gate, given=given, pepper=PEPPER, now_us=NOW_US)


async def test_a_desktop_signs_in_by_password_and_a_second_factor(
    city: AsyncEngine, gate: HashGate
) -> None:
    desktop = await make_desktop(city, gate, "desktop@example.jp")
    second = SecondFactor(desktop.code(), from_paper=False)
    signed = await by_password(city, gate, desktop, second=second)
    assert isinstance(signed, SignedIn)
    levels = await levels_of(city, desktop.resident.phone.soft, signed)
    assert levels == {Acr.DEV, Acr.PIN, Acr.OTP}


@pytest.mark.attack(10)
async def test_a_code_from_paper_lets_in_and_is_no_second_class(
    city: AsyncEngine, gate: HashGate
) -> None:
    desktop = await make_desktop(city, gate, "paper@example.jp")
    second = SecondFactor(desktop.sheet[0], from_paper=True)
    signed = await by_password(city, gate, desktop, second=second)
    assert isinstance(signed, SignedIn)
    assert await levels_of(city, desktop.resident.phone.soft, signed) == {Acr.DEV, Acr.PIN}
    assert await by_password(city, gate, desktop, second=second) == WRONG


@pytest.mark.attack(1)
@pytest.mark.asvs("v5.0.0-6.3.3")
@pytest.mark.asvs("v5.0.0-6.4.3")
async def test_the_right_password_alone_opens_nothing_anywhere(
    city: AsyncEngine, gate: HashGate
) -> None:
    desktop = await make_desktop(city, gate, "stuffed@example.jp")
    wrong = SecondFactor("000000", from_paper=False)
    right = SecondFactor(desktop.code(), from_paper=False)
    assert await by_password(city, gate, desktop, second=wrong) == WRONG
    assert await by_password(city, gate, desktop, second=right, soft=SoftDevice()) == WRONG
    assert await by_password(city, gate, desktop, second=right, password="wrong") == WRONG
    other = await make_resident(city)
    assert await by_password(city, gate, desktop, second=right, soft=other.phone.soft) == WRONG


@pytest.mark.attack(3)
@pytest.mark.asvs("v5.0.0-6.1.1")
async def test_strangers_do_not_lock_an_owner_out_of_the_desktop_at_home(
    city: AsyncEngine, gate: HashGate
) -> None:
    desktop = await make_desktop(city, gate, "besieged@example.jp")
    nonsense = SecondFactor("000000", from_paper=False)
    answers = [
        await by_password(city, gate, desktop, second=nonsense, password="guess", soft=SoftDevice())
        for _ in range(12)
    ]
    assert {one.code for one in answers if isinstance(one, Refusal)} == {
        "credentials_wrong",
        "too_many_tries",
    }
    second = SecondFactor(desktop.code(), from_paper=False)
    assert isinstance(await by_password(city, gate, desktop, second=second), SignedIn)


@pytest.mark.attack(4)
async def test_an_unknown_address_is_refused_in_the_same_words(
    city: AsyncEngine, gate: HashGate
) -> None:
    desktop = await make_desktop(city, gate, "real@example.jp")
    nobody = Desktop(desktop.resident, "", [], contact("nobody@example.jp"))
    second = SecondFactor("123456", from_paper=False)
    assert await by_password(city, gate, nobody, second=second) == WRONG
    assert await by_password(city, gate, desktop, second=second, password="no") == WRONG
