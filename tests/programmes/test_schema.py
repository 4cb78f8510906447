"""The JSON Schema that is published is the one that drafts are read by."""

from pathlib import Path

import msgspec
import pytest
from jsonschema_rs import Draft202012Validator, meta

from tests.factories.drafts import clean_voucher
from wallet.programmes.schema import schema, schema_text

PUBLISHED = Path(__file__).parents[2] / "docs" / "programme.schema.json"


def test_the_published_schema_is_up_to_date() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text(), (
        "write it anew: wallet programme schema > docs/programme.schema.json"
    )


def test_a_draft_is_valid_by_the_schema() -> None:
    validator = Draft202012Validator(schema())
    assert meta.is_valid(schema())
    assert list(validator.iter_errors(msgspec.to_builtins(clean_voucher()))) == []


@pytest.mark.parametrize("change", [{"colour": "red"}, {"kind": "gold"}, {"code": 1}])
def test_what_is_no_draft_is_not_valid_either(change: dict[str, object]) -> None:
    draft = {**msgspec.to_builtins(clean_voucher()), **change}
    assert list(Draft202012Validator(schema()).iter_errors(draft))
