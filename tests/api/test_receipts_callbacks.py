"""The door of payment providers: signed, within minutes, noted once, and closed to all others."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2 as httpx
import msgspec
import pytest
import pytest_asyncio

from tests.api.answers import problem_of
from tests.factories.city import City
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.pockets import Pocket, open_pocket
from tests.factories.programmes import make_programme, voucher_draft
from tests.factories.receipts import make_slip
from tests.factories.residents import row_of
from wallet.core.clock import MICROSECONDS
from wallet.core.ids import keyed_hash
from wallet.demo.fake_payment_provider import FakePaymentProvider, Mode
from wallet.receipts.providers import page_order, provider_key, read_page_order, sign
from wallet.receipts.request_payment import PaymentSlip
from wallet.receipts.rules import Method

pytestmark = pytest.mark.asyncio(loop_scope="module")

STATE = "SELECT state, card_key FROM receipt_order WHERE id = :id"
BODY = b'{"event_id":"e","slip_number":"1","amount_yen":5,"paid_at":"2026-11-25T12:00:00+09:00"}'


@dataclass(frozen=True)
class Desk:
    """The providers of a city, and orders that wait for their money."""

    pocket: Pocket
    programme_id: UUID

    def provider(self, method: Method, mode: Mode = Mode.HONEST) -> FakePaymentProvider:
        """Return a provider that calls the city's doors."""
        made = FakePaymentProvider(
            provider=method,
            pepper=PEPPER,
            send=self.send,
            clock=self.pocket.app.clock,
            slow_s=0.01,
        )
        made.mode = mode
        return made

    async def send(self, path: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Post as a provider does."""
        return (await self.post(path, body, headers)).status_code

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """Post as a provider does, and keep the answer."""
        return await self.pocket.app.client.post(path, content=body, headers=dict(headers))

    async def slip(self, method: Method = Method.CONVENIENCE) -> PaymentSlip:
        """Ask for 5,000 yen."""
        return await make_slip(self.pocket.city.engine, self.programme_id, method=method)

    async def order(self, slip: PaymentSlip) -> Mapping[str, Any]:
        """Return what has become of an order."""
        return await row_of(self.pocket.city.engine, STATE, id=slip.order_id)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(city: City) -> AsyncIterator[Desk]:
    """Yield the doors of the module's city."""
    async with open_pocket(city) as pocket:
        created = await make_programme(city.teller, voucher_draft())
        yield Desk(pocket, created.programme_id)


@pytest.mark.parametrize("method", list(Method))
async def test_what_a_provider_reports_pays_the_order(desk: Desk, method: Method) -> None:
    slip = await desk.slip(method)
    reported = await desk.provider(method).take(slip.reference, amount_yen=5_000)
    assert reported.statuses == [200]
    order = await desk.order(slip)
    assert order["state"] == "paid"
    key = keyed_hash("card practice-card", pepper=PEPPER) if method is Method.CARD else None
    assert order["card_key"] == key


@pytest.mark.parametrize("mode", [Mode.SLOW, Mode.FAILING, Mode.DUPLICATE])
async def test_slow_lost_and_repeated_reports_pay_once(desk: Desk, mode: Mode) -> None:
    slip = await desk.slip()
    reported = await desk.provider(Method.CONVENIENCE, mode).take(slip.reference, amount_yen=5_000)
    assert set(reported.statuses) == {200}
    assert (await desk.order(slip))["state"] == "paid"
    noted = await row_of(
        desk.pocket.city.engine,
        "SELECT count(*) AS n, sum(suspended_yen)::int AS yen FROM receipt WHERE order_id = :id",
        id=slip.order_id,
    )
    assert noted == {"n": 1, "yen": 0}


@pytest.mark.attack(23)
@pytest.mark.parametrize("mode", [Mode.UNSIGNED, Mode.OTHER_KEY, Mode.STALE, Mode.CHANGED])
async def test_nobody_but_the_provider_reports_money(desk: Desk, mode: Mode) -> None:
    slip = await desk.slip()
    reported = await desk.provider(Method.CONVENIENCE, mode).take(slip.reference, amount_yen=5_000)
    assert reported.statuses == [401]
    assert (await desk.order(slip))["state"] == "waiting"


async def test_a_providers_key_is_no_key_for_another(desk: Desk) -> None:
    key = provider_key(Method.BANK, pepper=PEPPER)
    answer = await desk.post("/receipts/v1/callbacks/convenience", BODY, signed(BODY, key=key))
    problem_of(answer, "report_unsigned")


def signed(
    body: bytes, *, key: bytes | None = None, timestamp: str | None = None
) -> dict[str, str]:
    """Return the headers of a report of the convenience stores' collector."""
    at = timestamp or str(NOW_US // MICROSECONDS)
    own = key or provider_key(Method.CONVENIENCE, pepper=PEPPER)
    return {
        "content-type": "application/json",
        "webhook-id": "m",
        "webhook-timestamp": at,
        "webhook-signature": "v1,AAAA " + sign(own, message_id="m", timestamp=at, body=body),
    }


@pytest.mark.parametrize("timestamp", ["", "x", "٣", "9" * 400, "-5"])
async def test_a_timestamp_that_is_none_signs_nothing(desk: Desk, timestamp: str) -> None:
    headers = {**signed(BODY), "webhook-timestamp": timestamp}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    answer = await desk.pocket.app.client.post(
        "/receipts/v1/callbacks/convenience", content=BODY, headers=raw
    )
    problem_of(answer, "report_unsigned")


async def test_an_unknown_provider_is_nobody(desk: Desk) -> None:
    problem_of(await desk.post("/receipts/v1/callbacks/a", BODY, signed(BODY)), "report_unsigned")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"event_id":"e"}',
        BODY.replace(b":5,", b":0,"),
        BODY.replace(b"+09:00", b""),
        BODY.replace(b"2026-", b"2126-"),
        BODY.replace(b"2026-", b"1926-"),
        BODY.replace(b'"e"', b'""'),
        b"[" * 10_000,
    ],
)
async def test_a_report_in_another_form_is_refused(desk: Desk, body: bytes) -> None:
    answer = await desk.post("/receipts/v1/callbacks/convenience", body, signed(body))
    problem_of(answer, "report_invalid")


async def test_the_same_event_with_another_amount_is_refused(desk: Desk) -> None:
    first = await desk.post("/receipts/v1/callbacks/convenience", BODY, signed(BODY))
    assert (first.status_code, first.json()["suspended_yen"]) == (200, 5)
    other = BODY.replace(b":5,", b":6,")
    answer = await desk.post("/receipts/v1/callbacks/convenience", other, signed(other))
    problem_of(answer, "receipt_differs")


@pytest.mark.parametrize(
    ("mode", "because"),
    [
        (Mode.SHORT, "under"),
        (Mode.SURPLUS, "over"),
        (Mode.NO_3D_SECURE, "unauthenticated"),
        (Mode.UNKNOWN_NUMBER, "unknown"),
    ],
)
async def test_what_does_not_match_is_suspended(desk: Desk, mode: Mode, because: str) -> None:
    slip = await desk.slip(Method.CARD)
    reported = await desk.provider(Method.CARD, mode).take(slip.reference, amount_yen=5_000)
    assert reported.statuses == [200]
    row = await row_of(
        desk.pocket.city.engine,
        "SELECT suspended_because FROM receipt WHERE provider_event = :event",
        event=reported.event,
    )
    assert row["suspended_because"] == because


async def test_a_garbled_report_is_not_tried_again(desk: Desk) -> None:
    slip = await desk.slip()
    provider = desk.provider(Method.CONVENIENCE, Mode.GARBLED)
    assert (await provider.take(slip.reference, amount_yen=5_000)).statuses == [422]
    assert not provider.reported[0].arrived


async def test_a_card_pages_order_is_signed_and_pays(desk: Desk) -> None:
    slip = await desk.slip(Method.CARD)
    order = page_order(slip, pepper=PEPPER)
    provider = desk.provider(Method.CARD)
    transport = httpx.ASGITransport(provider.application)
    async with httpx.AsyncClient(transport=transport, base_url="http://pay") as client:
        page = await client.get("/pay", params={"order": order})
        assert "5,000円" in page.text
        forged = await client.get("/pay", params={"order": order[:-2] + "AA"})
        assert forged.status_code == 400
        done = await client.post("/pay", data={"order": order})
    assert "終わりました" in done.text
    assert (await desk.order(slip))["state"] == "paid"


async def test_an_order_that_was_changed_on_the_way_is_not_ours(desk: Desk) -> None:
    slip = await desk.slip(Method.CARD)
    key = provider_key(Method.CARD, pepper=PEPPER)
    payload, _, mac = page_order(slip, pepper=PEPPER).partition(".")
    assert read_page_order(f"{payload}.{mac}", key=key) == {
        "order_reference": slip.reference,
        "amount_yen": 5_000,
        "expires_at_s": slip.expires_us // MICROSECONDS,
    }
    for text in ("", ".", "a", f"{payload}x.{mac}", f"{payload}.", f"{payload}.é", mac):
        assert read_page_order(text, key=key) is None


async def test_an_answer_says_how_much_was_matched(desk: Desk) -> None:
    slip = await desk.slip()
    told = msgspec.json.decode(BODY)
    body = msgspec.json.encode(
        {**told, "event_id": "over", "slip_number": slip.reference, "amount_yen": 5_300}
    )
    answer = await desk.post("/receipts/v1/callbacks/convenience", body, signed(body))
    assert answer.json().items() >= {"matched_yen": 5_000, "suspended_yen": 300}.items()
    assert answer.json()["receipt_id"].startswith("rec_")
