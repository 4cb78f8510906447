"""Payment providers for rehearsals and tests: a store's collector, a card gateway and a bank.

They do what real ones do as far as the city can tell: they take money under a number, and report
it by signed callbacks that are tried again until somebody answers 200. Instead of money they take
somebody's word. And they can be told to misbehave (:class:`Mode`), as real ones do on busy days
and hostile ones always.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from enum import StrEnum
from html import escape
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qs

import httpx2
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from wallet.core.clock import JST, MICROSECONDS, Clock, system_clock, to_datetime
from wallet.receipts.providers import provider_key, read_page_order, sign
from wallet.receipts.rules import Method

SLOW_S: Final = 20.0
TRIES_MAX: Final = 10
"""How often an event is reported before the provider puts it on a list for people."""

CALLBACK: Final = "/receipts/v1/callbacks/{provider}"
_DUPLICATES: Final = 3
_ACCEPTED: Final = 200

Send = Callable[[str, bytes, Mapping[str, str]], Awaitable[int]]
"""Posts a body to a path with headers, and returns the status of the answer."""


class Mode(StrEnum):
    """How a provider behaves."""

    HONEST = "honest"
    SLOW = "slow"
    FAILING = "failing"
    DUPLICATE = "duplicate"
    UNSIGNED = "unsigned"
    OTHER_KEY = "other_key"
    STALE = "stale"
    GARBLED = "garbled"
    CHANGED = "changed"
    SHORT = "short"
    SURPLUS = "surplus"
    NO_3D_SECURE = "no_3d_secure"
    UNKNOWN_NUMBER = "unknown_number"


class Reported(msgspec.Struct, frozen=True):
    """An event, and the status of every answer to it, in the order they came."""

    event: str
    statuses: list[int]

    @property
    def arrived(self) -> bool:
        """Whether the city has said that it has noted it."""
        return _ACCEPTED in self.statuses


class FakePaymentProvider:
    """One provider, with the key that the city shares with it and a mode that can be changed."""

    def __init__(
        self,
        *,
        provider: Method,
        pepper: bytes,
        send: Send,
        clock: Clock = system_clock,
        slow_s: float = SLOW_S,
    ) -> None:
        self.provider = provider
        self.mode = Mode.HONEST
        self.reported: list[Reported] = []
        self._key = provider_key(provider, pepper=pepper)
        self._send = send
        self._clock = clock
        self._slow_s = slow_s
        self.application = Starlette(
            routes=[
                Route("/pay", self._page, methods=["GET"]),
                Route("/pay", self._pay_page, methods=["POST"]),
            ]
        )

    async def take(self, reference: str, *, amount_yen: int) -> Reported:
        """Take money under a number, and report it until it has arrived or nobody tries on."""
        event = f"evt-{secrets.token_hex(12)}"
        body = self._body(event, reference, amount_yen)
        statuses: list[int] = []
        if self.mode is Mode.SLOW:
            await asyncio.sleep(self._slow_s)
        copies = _DUPLICATES if self.mode is Mode.DUPLICATE else 1
        for attempt in range(TRIES_MAX):
            if self.mode is Mode.FAILING and attempt == 0:
                continue  # Its first report is lost on the way.
            statuses += await asyncio.gather(*(self._report(body) for _ in range(copies)))
            if _ACCEPTED in statuses or max(statuses) < 500:  # noqa: PLR2004 - a fault of ours
                break
        reported = Reported(event, statuses)
        self.reported.append(reported)
        return reported

    async def _report(self, body: bytes) -> int:
        """Send one callback, signed as the mode has it, and return the answer's status."""
        now_s = self._clock() // MICROSECONDS
        stamped_s = now_s - 3_600 if self.mode is Mode.STALE else now_s
        key = secrets.token_bytes(32) if self.mode is Mode.OTHER_KEY else self._key
        message_id, timestamp = f"msg-{secrets.token_hex(12)}", str(stamped_s)
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
        }
        if self.mode is not Mode.UNSIGNED:
            signature = sign(key, message_id=message_id, timestamp=timestamp, body=body)
            headers["webhook-signature"] = signature
        sent = body.replace(b'"amount_yen":', b'"amount_yen":9') if self._changes else body
        return await self._send(CALLBACK.format(provider=self.provider), sent, headers)

    @property
    def _changes(self) -> bool:
        return self.mode is Mode.CHANGED

    def _body(self, event: str, reference: str, amount_yen: int) -> bytes:
        """Return what is reported, in the provider's own words."""
        if self.mode is Mode.GARBLED:
            return b'{"event_id": '
        changes = {Mode.SHORT: -1, Mode.SURPLUS: 1}
        told_yen = amount_yen + changes.get(self.mode, 0)
        told = "0" * 18 if self.mode is Mode.UNKNOWN_NUMBER else reference
        at = to_datetime(self._clock()).astimezone(JST)
        fields = _FIELDS[self.provider](told, at)
        if self.mode is Mode.NO_3D_SECURE:
            fields["trans_status"] = "N"
        return msgspec.json.encode({"event_id": event, "amount_yen": told_yen, **fields})

    async def _page(self, request: Request) -> Response:
        """Show what is to be paid, of an order that the city has signed."""
        text = request.query_params.get("order", "")
        order = read_page_order(text, key=self._key)
        if order is None or int(order["expires_at_s"]) * MICROSECONDS <= self._clock():
            return HTMLResponse(_NOT_OURS, 400)
        shown = _PAGE.format(
            amount=f"{order['amount_yen']:,}",
            number=escape(str(order["order_reference"])),
            order=escape(text),
        )
        return HTMLResponse(shown)

    async def _pay_page(self, request: Request) -> Response:
        """Take the money that somebody says they pay."""
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        order = read_page_order(form.get("order", [""])[0], key=self._key)
        if order is None or int(order["expires_at_s"]) * MICROSECONDS <= self._clock():
            return HTMLResponse(_NOT_OURS, 400)
        reported = await self.take(
            str(order["order_reference"]), amount_yen=int(order["amount_yen"])
        )
        return HTMLResponse(_DONE if reported.arrived else _WAITING)


def send_to(base_url: str, client: httpx2.AsyncClient) -> Send:
    """Return what posts callbacks to a city at an address; a city that is away answers 503."""

    async def send(path: str, body: bytes, headers: Mapping[str, str]) -> int:
        try:
            answer = await client.post(f"{base_url}{path}", content=body, headers=dict(headers))
        except httpx2.TransportError:
            return 503
        return answer.status_code

    return send


def _of_store(reference: str, at: datetime) -> dict[str, Any]:
    return {"slip_number": reference, "paid_at": at.isoformat()}


def _of_card(reference: str, at: datetime) -> dict[str, Any]:
    return {
        "order_reference": reference,
        "charged_at": at.isoformat(),
        "trans_status": "Y",
        "card_fingerprint": "practice-card",
    }


def _of_bank(reference: str, at: datetime) -> dict[str, Any]:
    return {"transfer_reference": reference, "credited_at": at.isoformat()}


_FIELDS: Final[Mapping[Method, Callable[[str, datetime], dict[str, Any]]]] = MappingProxyType(
    {Method.CONVENIENCE: _of_store, Method.CARD: _of_card, Method.BANK: _of_bank}
)

_HEAD: Final = """<!doctype html><html lang="ja"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>練習用のお支払いページ</title>
<style>body{font:20px/1.8 system-ui,sans-serif;max-width:36rem;margin:2rem auto;padding:0 1rem}
button{font:inherit;padding:.6rem 1.2rem}</style>
<h1>練習用のお支払いページ</h1>
"""

_PAGE: Final = (
    _HEAD.replace("{", "{{").replace("}", "}}")
    + """<p>これは 本物の お支払いページでは ありません。お金は 動きません。</p>
<p>{amount}円(番号 {number})</p>
<form method="post" action="/pay"><input type="hidden" name="order" value="{order}">
<button>払う</button></form></html>
"""
)

_DONE: Final = _HEAD + "<p>お支払いが 終わりました。アプリに もどって ください。</p></html>\n"
_WAITING: Final = _HEAD + "<p>お支払いを 確認しています。アプリで お待ちください。</p></html>\n"
_NOT_OURS: Final = _HEAD + "<p>この お支払いは 受け付けられません。</p></html>\n"
