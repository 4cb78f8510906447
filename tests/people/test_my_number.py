"""The schema itself has no room for a My Number in what people write."""

from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories.phones import enrol
from tests.soft_device import SoftDevice
from wallet.core.database import metadata


@pytest.mark.asvs("v5.0.0-14.2.6")
@pytest.mark.parametrize(
    "name",
    ["123456789018", "マイ 1234-5678-9018", "１２３４ ５６７８ ９０１８", "no 123456789012 x"],
)
async def test_a_device_is_not_named_by_twelve_digits(city: AsyncEngine, name: str) -> None:
    with pytest.raises(IntegrityError, match="ck_device_no_my_number"):
        await enrol(city, SoftDevice(), uuid4(), name=name)


async def test_a_device_may_have_a_number_in_its_name(city: AsyncEngine) -> None:
    enrolled = await enrol(city, SoftDevice(), uuid4(), name="スマホ 2026-11 (64GB)")
    assert not enrolled.cools_off


def test_people_have_no_column_for_texts_of_their_own() -> None:
    tables = ("person", "contact", "contact_code", "identity_flow", "guardianship", "helper")
    texts = {
        f"{table}.{column.name}"
        for table in tables
        for column in metadata.tables[table].columns
        if column.type.python_type is str
    }
    # Words of a fixed list each, and a code that is drawn by lot.
    assert texts == {
        "person.tier",
        "person.state",
        "person.frozen_because",
        "person.support_code",
        "contact.kind",
        "contact_code.kind",
        "identity_flow.purpose",
        "guardianship.kind",
        "helper.kind",
    }
