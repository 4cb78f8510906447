"""What a payment costs that its payer has to approve, beside ones that nobody is asked about.

``python -m bench.step_up``: shops ask, phones approve, over HTTP, and the CPU of all that serves
them is counted: the till, the resident plane and PostgreSQL. A round is everything from the shop's
request, which is answered with 202, to the money: the challenge, the proof of the phone's key, the
signature of its second key, and the payment. It is held against a payment of the same phones that
takes a proof as well, and, for what it is worth, against one by a code that takes none. The three
take turns. Neither requests nor signatures are made while it is measured.
"""

import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bench.alone import measure_alone
from bench.generator import Job, Result
from bench.phones import Phone, make_phones
from bench.processes import BenchError, cpu_s, output_of, python, say
from bench.stage import Stage
from bench.till import Server, open_plane
from wallet.auth.proofs import base64url
from wallet.auth.rules import challenge_of
from wallet.core.clock import system_clock, to_datetime
from wallet.core.database import make_engine, read, write
from wallet.core.ids import align_id, keyed_hash, new_id, new_secret, public_id
from wallet.ledger.bulk import bulk_teller
from wallet.merchants.issue_api_key import issue_api_key
from wallet.merchants.register_merchants import NewMerchant, NewShop, register_merchants
from wallet.programmes.create_programme import create_programme
from wallet.programmes.rules import Spending
from wallet.programmes.terms import ProgrammeDraft
from wallet.vouchers.issue_many import issue_many
from wallet.vouchers.rules import IssueRequest

TARGET: Final = 2.0

TICK_S: Final = 0.01
"""The system counts CPU in hundredths of a second."""

PLAIN_YEN: Final = 1_000
ASKED_YEN: Final = 6_000
GIVEN_YEN: Final = 30_000

SLICES: Final = 2
"""A phone is asked three times in ten minutes at most: once to warm up, and once in each slice."""

CONNECTIONS: Final = 8
"""One payment in a hundred is asked about, so few are at any moment even in a large city. With
more at once batches grow, all three kinds get cheaper, and signatures, which no batch shares, weigh
more: with 64 the round costs about two payments by phone."""

PHONES: Final = 1_500
PHONES_QUICK: Final = 20

_CODES = text("""
INSERT INTO one_time_code (code_hash, wallet_id, expires_at, device_id)
SELECT hash, wallet_id, :expires_at, device_id
FROM unnest(CAST(:hashes AS bytea[]), CAST(:wallet_ids AS uuid[]), CAST(:device_ids AS uuid[]))
     AS new (hash, wallet_id, device_id)
""")

_ASKED = text("""
SELECT id, device_id, nonce, op_hash, number_match FROM step_up
WHERE passed_at IS NULL AND expires_at > :now
""")


@dataclass
class Cost:
    """CPU of the servers and of PostgreSQL, over some payments."""

    payments: int = 0
    cpu_s: float = 0.0

    @property
    def cpu_ms(self) -> float:
        """CPU for one payment, in ms; a quick run may use less than the system counts in."""
        return max(self.cpu_s, TICK_S) * 1000 / self.payments


@dataclass
class StepUpCost:
    """What both kinds of payments have cost."""

    by_code: Cost = field(default_factory=Cost)
    by_phone: Cost = field(default_factory=Cost)
    approved: Cost = field(default_factory=Cost)

    @property
    def ratio(self) -> float:
        """How often a plain payment by phone a round costs."""
        return self.approved.cpu_ms / self.by_phone.cpu_ms

    def figures(self) -> dict[str, float]:
        """Return the figures by their JSON keys."""
        return {
            "step_up_over_plain": round(self.ratio, 3),
            "step_up_over_code": round(self.approved.cpu_ms / self.by_code.cpu_ms, 3),
            "step_up_cpu_ms_per_payment": round(self.approved.cpu_ms, 3),
            "by_phone_cpu_ms_per_payment": round(self.by_phone.cpu_ms, 3),
            "by_code_cpu_ms_per_payment": round(self.by_code.cpu_ms, 3),
        }


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A shop, people with phones and money, and the two planes that serve them."""

    stage: Stage
    engine: AsyncEngine
    phones: dict[UUID, Phone]
    terminal_id: str
    api_key: str
    till: Server
    resident: Server


async def measure_step_up(stage: Stage, *, phones: int = PHONES) -> StepUpCost:
    """Measure on a new stage; raises :class:`BenchError` when a payment does not go through."""
    cost = StepUpCost()
    async with _open_scene(stage, phones) as scene:
        for number in range(SLICES + 1):
            taken = (
                (cost.by_code, await _take_by_code(scene)),
                (cost.by_phone, await _take_by_phone(scene)),
                (cost.approved, await _take_approved(scene)),
            )
            for total, slice_ in taken if number else ():  # The first warms up.
                total.payments += slice_.payments
                total.cpu_s += slice_.cpu_s
    return cost


@asynccontextmanager
async def _open_scene(stage: Stage, phones: int) -> AsyncIterator[Scene]:
    engine = make_engine(stage.application_url, pool_size=2, application_name="bench-step-up")
    pepper = stage.pepper.encode()
    try:
        terminal_id, api_key = await _open_shop(stage, engine, pepper)
        say(f"enrolling {phones:,} phones")
        people = await make_phones(engine, count=phones, pepper=pepper)
        await _give(stage, [phone.wallet_id for phone in people])
        async with open_plane(stage, "till") as till, open_plane(stage, "resident") as resident:
            yield Scene(
                stage=stage,
                engine=engine,
                phones={phone.device_id: phone for phone in people},
                terminal_id=terminal_id,
                api_key=api_key,
                till=till,
                resident=resident,
            )
    finally:
        await engine.dispose()


async def _open_shop(stage: Stage, engine: AsyncEngine, pepper: bytes) -> tuple[str, str]:
    """Open one shop, and money that may be spent in it; return its terminal and its key."""
    now_us = system_clock()
    merchant_id, shop_id, terminal_id = (new_id(now_us=now_us) for _ in range(3))
    shop = NewShop(shop_id, "shop", "groceries", small=True, terminal_ids=(terminal_id,))
    today = to_datetime(now_us).date()
    spending = Spending(first_day=today - timedelta(days=1), last_day=date(today.year + 1, 12, 31))
    draft = ProgrammeDraft(
        code="bench", name="bench", spending=spending, budget_yen=GIVEN_YEN * 1_000_000
    )
    async with bulk_teller(stage.application_url, clock=system_clock) as teller:
        await create_programme(teller, draft=draft, now_us=now_us)
        await register_merchants(teller, merchants=[NewMerchant(merchant_id, "shop", (shop,))])
    key = await issue_api_key(
        engine, merchant_id=merchant_id, livemode=False, pepper=pepper, now_us=now_us
    )
    return public_id("ter", terminal_id), key.key


async def _give(stage: Stage, wallet_ids: Sequence[UUID]) -> None:
    now_us = system_clock()
    requests = [
        IssueRequest(
            issue_id=align_id(new_id(now_us=now_us)),
            wallet_id=wallet_id,
            programme="bench",
            amount_yen=GIVEN_YEN,
        )
        for wallet_id in wallet_ids
    ]
    async with bulk_teller(stage.application_url, clock=system_clock) as teller:
        await issue_many(teller, requests=requests)


async def _take_by_code(scene: Scene) -> Cost:
    cost = Cost(len(scene.phones))
    cost.cpu_s += await _send(scene, scene.till, await _scanned(scene, PLAIN_YEN), 201)
    say(f"by code: {cost.cpu_ms:.3f} ms of CPU for a payment")
    return cost


async def _take_by_phone(scene: Scene) -> Cost:
    cost = Cost(len(scene.phones))
    requests = [_by_phone(scene, phone) for phone in scene.phones.values()]
    cost.cpu_s += await _send(scene, scene.resident, requests, 201)
    say(f"by phone: {cost.cpu_ms:.3f} ms of CPU for a payment")
    return cost


def _by_phone(scene: Scene, phone: Phone) -> bytes:
    body = {
        "terminal_id": scene.terminal_id,
        "amount": {"amount": PLAIN_YEN, "currency": "JPY"},
    }
    return _signed(phone, "/app/v1/payments", body, {"idempotency-key": uuid4().hex})


async def _take_approved(scene: Scene) -> Cost:
    cost = Cost(len(scene.phones))
    asked_s = await _send(scene, scene.till, await _scanned(scene, ASKED_YEN), 202)
    answered_s = await _send(scene, scene.resident, await _answers(scene), 200)
    cost.cpu_s += asked_s + answered_s
    say(
        f"approved: {cost.cpu_ms:.3f} ms of CPU for a payment,"
        f" {asked_s * 1000 / cost.payments:.3f} of it until the phone is asked"
    )
    return cost


async def _send(scene: Scene, server: Server, requests: list[bytes], status: int) -> float:
    """Send the requests and return the CPU seconds that serving them took."""
    path = scene.stage.directory / "job"
    path.write_bytes(msgspec.msgpack.encode(Job(server.port, CONNECTIONS, requests)))
    before_s = _cpu_s(scene)
    printed = await output_of(python("bench.generator", path), os.environ)
    used_s = _cpu_s(scene) - before_s
    result = msgspec.json.decode(printed, type=Result)
    if result.statuses != {status: len(requests)}:
        message = f"{server.name} answered {result.statuses}: {result.samples}"
        raise BenchError(message)
    return used_s


def _cpu_s(scene: Scene) -> float:
    return sum(cpu_s(pid) for pid in (scene.till.pid, scene.resident.pid, scene.stage.cluster.pid))


async def _scanned(scene: Scene, amount_yen: int) -> list[bytes]:
    """Give each phone a code, and return the requests of the shop that has scanned them."""
    phones = list(scene.phones.values())
    codes = [new_secret("code_") for _ in phones]
    pepper = scene.stage.pepper.encode()
    values: dict[str, Any] = {
        "hashes": [keyed_hash(code, pepper=pepper) for code in codes],
        "wallet_ids": [phone.wallet_id for phone in phones],
        "device_ids": [phone.device_id for phone in phones],
        "expires_at": to_datetime(system_clock()) + timedelta(minutes=5),
    }

    async def insert(connection: AsyncConnection) -> None:
        await connection.execute(_CODES, values)

    await write(scene.engine, insert)
    headers = {"authorization": f"Bearer {scene.api_key}"}
    return [
        _request(
            "/v1/payments",
            {
                "merchant_payment_id": uuid4().hex,
                "amount": {"amount": amount_yen, "currency": "JPY"},
                "instrument": {"type": "cpm_code", "value": code},
                "terminal_id": scene.terminal_id,
            },
            {**headers, "idempotency-key": uuid4().hex},
        )
        for code in codes
    ]


async def _answers(scene: Scene) -> list[bytes]:
    """Return what the phones send that have been asked, signed just now."""
    async with read(scene.engine) as connection:
        rows = await connection.execute(_ASKED, {"now": to_datetime(system_clock())})
        asked = rows.all()
    return [
        _answer(
            scene.phones[row.device_id],
            path=f"/app/v1/challenges/{public_id('chl', row.id)}/respond",
            challenge=challenge_of(nonce=row.nonce, op_hash=row.op_hash),
            number=row.number_match,
        )
        for row in asked
    ]


def _answer(phone: Phone, *, path: str, challenge: bytes, number: str) -> bytes:
    signature = base64url(phone.verified_key.sign(challenge))
    body = {"type": "verified_key", "signature": signature, "number": number}
    return _signed(phone, path, body, {})


def _signed(phone: Phone, path: str, body: dict[str, Any], headers: dict[str, str]) -> bytes:
    """Return a request of a phone's with the proof of its key."""
    authorization = f"DPoP {phone.access_token}"
    proof = phone.proof(path, json.dumps(body).encode())
    return _request(path, body, {"authorization": authorization, "dpop": proof, **headers})


def _request(path: str, body: dict[str, Any], headers: dict[str, str]) -> bytes:
    """Return a whole HTTP request."""
    content = json.dumps(body)
    named = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{named}"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n{content}"
    ).encode("ascii")


def main() -> int:
    """Measure, and print a line for people and one of JSON."""
    cost = measure_alone(
        "step_up",
        __doc__,
        lambda stage, quick: measure_step_up(stage, phones=PHONES_QUICK if quick else PHONES),
    )
    reached = "reached" if cost.ratio <= TARGET else "NOT reached"
    print(
        f"an approved payment costs {cost.ratio:.2f} plain ones by phone"
        f" (at most {TARGET}): {reached}"
    )
    print(json.dumps(cost.figures()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
