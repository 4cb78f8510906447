"""Drafts of programmes that nothing stands against."""

from datetime import date
from typing import Any, Final

import msgspec

from tests.factories.programmes import free_draft, voucher_draft
from wallet.programmes.terms import Article13, ProgrammeDraft

EXCLUDED: Final = frozenset({"tobacco", "vouchers", "public-charges", "finance", "adult"})
CONFIRMED: Final = frozenset(
    {
        "L-19.leak_persons",
        "L-23.sale_untaxed",
        "L-26.guardian_consent",
        "L-31.ledger_years",
    }
)
ART13: Final = Article13(
    name="しらさぎ市",
    amount="1口5,000円で6,250円分です。",
    period="2027年3月31日まで使えます。",
    desk="商工課",
    others="おつりは出ません。",
)
LIVE_ON: Final = date(2026, 11, 25)
"""The day in Japan of the moment tests happen at."""


def clean_voucher(
    code: str = "voucher",
    **changes: Any,  # noqa: ANN401 - fields of many types
) -> ProgrammeDraft:
    """Return a city's voucher that the law has nothing against, with ``changes``."""
    draft = voucher_draft(code, excluded_categories=EXCLUDED)
    return _changed(draft, {"art13": ART13, "confirmed": CONFIRMED, **changes})


def clean_points(
    code: str = "points",
    **changes: Any,  # noqa: ANN401 - as above
) -> ProgrammeDraft:
    """Return a city's points that the law has nothing against, with ``changes``."""
    draft = free_draft(code, excluded_categories=EXCLUDED)
    return _changed(draft, {"kind": "points", "confirmed": CONFIRMED, **changes})


def _changed(draft: ProgrammeDraft, changes: dict[str, Any]) -> ProgrammeDraft:
    """Return the draft with changes, read as a file is, so that each has its type."""
    changed = msgspec.structs.replace(draft, **changes)
    return msgspec.convert(msgspec.to_builtins(changed), ProgrammeDraft)
