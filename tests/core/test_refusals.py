"""A refusal is a value; an error only carries it up."""

import pytest

from wallet.core.refusals import Refusal, RefusedError


def test_an_error_carries_its_refusal_with_the_facts() -> None:
    with pytest.raises(RefusedError, match="limit_daily") as error:
        raise RefusedError("limit_daily", limit_yen=50_000)
    assert error.value.refusal == Refusal("limit_daily", {"limit_yen": 50_000})


def test_refusals_do_not_share_their_facts() -> None:
    first, second = Refusal("a"), Refusal("b")
    first.facts["x"] = 1
    assert second.facts == {}
