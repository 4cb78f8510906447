"""What a problem is made of, for the parts of the catalogue."""

from enum import StrEnum
from functools import partial
from typing import Final

import msgspec

MONEY_IS_SAFE: Final = "お金は減っていません。"
MONEY_IS_SAFE_EASY: Final = "お金は へって いません。"


class NextAction(StrEnum):
    """What the caller's system should do now."""

    NONE = "none"
    RETRY_SAME_KEY = "retry_same_key"
    WAIT = "wait"
    SHOW_NEW_CODE = "show_new_code"
    SPLIT_TENDER = "split_tender"
    STEP_UP = "step_up"
    SIGN_IN = "sign_in"
    UPDATE_APP = "update_app"
    CALL_SUPPORT = "call_support"
    VISIT_COUNTER = "visit_counter"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of refusal as the doors tell it.

    ``body`` and ``easy`` are for the resident, ``clerk`` for whoever stands at the till, ``title``
    for engineers. ``retry_after_s`` becomes the header of that name; a refusal's own fact of that
    name goes before it. ``scheme`` is how a caller who is not known shall say who they are.
    """

    code: str
    status: int
    title: str
    headline: str
    body: str
    easy: str
    clerk: str
    next_action: NextAction = NextAction.NONE
    retryable: bool = False
    retry_after_s: int | None = None
    scheme: str = 'Bearer realm="wallet"'


in_the_app: Final = partial(
    Problem, clerk="お客様ご本人のスマートフォンでの手続きです。番号などは聞かないでください。"
)
"""Something between people and their phones, where a clerk has nothing to do."""

_EASY_FOR_STAFF: Final = "これは 職員(しょくいん)の 画面(がめん)です。"


def for_staff(
    code: str,
    status: int,
    title: str,
    headline: str,
    words: str,
    *,
    next_action: NextAction = NextAction.NONE,
    retry_after_s: int | None = None,
) -> Problem:
    """Return a problem that only staff hear of: one wording, for whichever colleague reads it."""
    return Problem(
        code=code,
        status=status,
        title=title,
        headline=headline,
        body=words,
        easy=_EASY_FOR_STAFF,
        clerk=words,
        next_action=next_action,
        retryable=next_action is NextAction.WAIT,
        retry_after_s=retry_after_s,
    )
