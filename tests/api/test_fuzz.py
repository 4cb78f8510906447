"""The doors fuzzed from their own document: whatever is sent, what comes back is documented."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis import APIOperation, BaseSchema, Case, CheckFunction, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.factories.city import make_city
from tests.factories.moments import NOW_US, PEPPER
from tests.factories.payments import make_payer
from tests.factories.people import make_card
from tests.servers import Database
from wallet.core.clock import TestClock
from wallet.core.ids import public_id
from wallet.planes import make_till
from wallet.settings import Settings

AnyCase = Case[Any]

LABELS: Final = (
    "GET /v1/payments",
    "POST /v1/payments",
    "GET /v1/payments/by-merchant-id/{merchant_payment_id}",
    "GET /v1/payments/{payment_id}",
)
FOR_ANYBODY: Final = ("GET /status",)
EXAMPLES: Final = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a merchant's system knows, and a card that it was shown."""

    api_key: str
    terminal_id: str
    card: str


async def furnish(database_url: str) -> Known:
    """Make somebody who can pay and somebody to be paid."""
    async with make_city(database_url, yen=1_000_000) as city:
        wallet_id = await make_payer(
            city, yen=900_000_000, payment_limit_yen=10**6, daily_limit_yen=10**12
        )
        card = await make_card(
            city.engine, wallet_id, payment_limit_yen=10**6, daily_limit_yen=10**12
        )
        return Known(
            api_key=city.merchant.api_key,
            terminal_id=public_id("ter", city.merchant.terminal_id),
            card=card.qr_value,
        )


@pytest.fixture(scope="module")
def known(module_database: Database) -> Known:
    """Return what a caller may know of the city."""
    return asyncio.run(furnish(module_database.application_url))


@pytest.fixture(scope="module")
def described(module_database: Database, known: Known) -> Iterator[BaseSchema]:
    """Yield the document of a till that is open, and by which it can be called."""
    del known  # The city is to be furnished before the till opens.
    plane = make_till(
        Settings(),
        database_url=module_database.application_url,
        pepper=PEPPER,
        clock=TestClock(NOW_US),
    )
    yield schemathesis.openapi.from_asgi("/openapi.json", plane)
    shutdown_lifespans()


ASKS_NOBODY_YEN = 5_000
"""What a card pays by itself; whoever pays more is asked on their phone, which nobody has here."""


def operation_of(described: BaseSchema, label: str) -> APIOperation[Any, Any, Any, Any]:
    """Return one operation of the document."""
    operation = described.find_operation_by_label(label)
    assert operation is not None
    return operation


def edges_of(described: BaseSchema, label: str) -> Iterator[AnyCase]:
    """Yield the cases at the edges of what an operation takes, on both sides of them."""
    yield from described.iter_coverage_cases(
        operation_of(described, label),
        generation_modes=list(GenerationMode),
        generation_config=described.config.generation,
    )


def is_written_as_a_whole_number(case: AnyCase) -> bool:
    """Whether the amount has no fraction; JSON Schema takes 1.0 for an integer, and we do not."""
    amount = case.body.get("amount") if isinstance(case.body, dict) else None
    return not (isinstance(amount, dict) and isinstance(amount.get("amount"), float))


def test_the_document_has_no_other_operations(described: BaseSchema) -> None:
    results = list(described.get_all_operations())
    labels = [one.ok().label for one in results if isinstance(one, Ok)]
    assert sorted(labels) == sorted(LABELS + FOR_ANYBODY)
    assert len(results) == len(labels)


@pytest.mark.asvs("v5.0.0-1.2.4")
@pytest.mark.asvs("v5.0.0-2.2.2")
@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("label", LABELS)
def test_whatever_a_merchant_sends_is_answered_as_documented(
    described: BaseSchema, known: Known, label: str, mode: GenerationMode
) -> None:
    headers = {"Authorization": f"Bearer {known.api_key}"}

    @EXAMPLES
    @given(case=operation_of(described, label).as_strategy(mode))
    def check(case: AnyCase) -> None:
        assume(mode.is_negative or is_written_as_a_whole_number(case))
        # A query cannot say null: what was meant to be wrong may arrive as nothing at all.
        lost: list[CheckFunction] = [negative_data_rejection] if case.query else []
        case.call_and_validate(headers=headers, excluded_checks=lost)

    check()


@pytest.mark.parametrize("label", LABELS + FOR_ANYBODY)
def test_what_is_at_the_edges_is_answered_as_documented(
    described: BaseSchema, known: Known, label: str
) -> None:
    headers = {"Authorization": f"Bearer {known.api_key}"}
    assert [case.call_and_validate(headers=headers) for case in edges_of(described, label)]


@pytest.mark.asvs("v5.0.0-8.3.1")
@pytest.mark.parametrize("label", LABELS)
def test_without_a_key_everything_is_refused_as_documented(
    described: BaseSchema, label: str
) -> None:
    statuses = set()
    for case in edges_of(described, label):
        response = case.call(headers={"Authorization": ""})
        case.validate_response(response, excluded_checks=[positive_data_acceptance])
        statuses.add(response.status_code)
    assert statuses <= {401, 405}


@pytest.mark.asvs("v5.0.0-1.2.3")
def test_whatever_is_well_formed_is_paid_and_can_be_read(
    described: BaseSchema, known: Known
) -> None:
    headers = {"Authorization": f"Bearer {known.api_key}"}
    read = operation_of(described, "GET /v1/payments/{payment_id}")
    statuses = set()

    @EXAMPLES
    @given(case=operation_of(described, "POST /v1/payments").as_strategy())
    def check(case: AnyCase) -> None:
        assume(is_written_as_a_whole_number(case))
        assert isinstance(case.body, dict)
        case.body["terminal_id"] = known.terminal_id
        case.body["instrument"] = {"type": "card", "value": known.card}
        amount: Any = case.body["amount"]
        amount["amount"] = min(amount["amount"], ASKS_NOBODY_YEN)
        response = case.call(headers=headers)
        case.validate_response(
            response, headers=headers, excluded_checks=[positive_data_acceptance]
        )
        statuses.add(response.status_code)
        if response.status_code == 201:
            payment = response.json()
            one = read.Case(path_parameters={"payment_id": payment["id"]})
            assert one.call_and_validate(headers=headers).json() == payment

    check()
    assert 201 in statuses
    assert statuses <= {201, 422}  # A key or an id that was drawn twice is a conflict.
