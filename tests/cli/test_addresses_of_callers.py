"""Whose word counts on where a caller is: guess limits and the audit trail rest on it."""

from typing import Any

import httpx2 as httpx
import pytest
import uvicorn
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from wallet.cli.processes import server_config
from wallet.settings import Settings

PROXY = "10.0.0.7"


async def tell_address(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the address that the doors would see."""
    client = Request(scope).client
    assert client is not None
    await PlainTextResponse(client.host)(scope, receive, send)


async def address_seen(*, connected_from: str, trusted: str, forwarded: str) -> str:
    """Ask through everything the server puts around an application."""
    config = uvicorn.Config(
        tell_address, **server_config(host="127.0.0.1", port=0, trusted_proxies=trusted)
    )
    config.load()
    application: Any = config.loaded_app
    transport = httpx.ASGITransport(app=application, client=(connected_from, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://till") as client:
        response = await client.get("/", headers={"x-forwarded-for": forwarded})
    return response.text


@pytest.mark.parametrize(
    ("connected_from", "trusted", "forwarded", "seen"),
    [
        (PROXY, "", "203.0.113.9", PROXY),
        (PROXY, "10.0.0.0/24", "203.0.113.9", "203.0.113.9"),
        (PROXY, "10.0.0.7, 10.0.0.8", "203.0.113.9", "203.0.113.9"),
        ("203.0.113.66", "10.0.0.0/24", "198.51.100.1", "203.0.113.66"),
        # What a caller wrote themselves stands before what the proxy has added.
        (PROXY, "10.0.0.0/24", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (PROXY, "10.0.0.0/24", "198.51.100.1, 203.0.113.9, 10.0.0.8", "203.0.113.9"),
    ],
)
async def test_only_a_trusted_proxy_says_where_a_caller_is(
    connected_from: str, trusted: str, forwarded: str, seen: str
) -> None:
    asked = await address_seen(connected_from=connected_from, trusted=trusted, forwarded=forwarded)
    assert asked == seen


@pytest.mark.parametrize(
    "proxies",
    ["*", "proxy.example.jp", "10.0.0.0/24,", "10.0.0.1/24", "0.0.0.0/0", "10.0.0.7, ::/0"],
)
def test_nobody_is_trusted_by_name_or_for_all(proxies: str) -> None:
    with pytest.raises(ValidationError):
        Settings(trusted_proxies=proxies)
