"""The few words around whole yen."""

import pytest

from wallet.core.money import format_yen


@pytest.mark.parametrize(
    ("amount_yen", "text"),
    [(0, "0円"), (999, "999円"), (1_200, "1,200円"), (-1_000_000, "-1,000,000円")],
)
def test_yen_are_grouped_by_thousands(amount_yen: int, text: str) -> None:
    assert format_yen(amount_yen) == text
