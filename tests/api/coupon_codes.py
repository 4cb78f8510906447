"""Where the codes about coupons are brought about, and the statuses they once had."""

from types import MappingProxyType
from typing import Final

STATUSES: Final = MappingProxyType[int, set[str]]({404: {"coupon_unknown"}, 409: {"coupon_over"}})

ELSEWHERE: Final = MappingProxyType(
    dict.fromkeys(
        ("coupon_over", "coupon_unknown"), "tests/api/test_resident_coupons.py asks for it"
    )
)
