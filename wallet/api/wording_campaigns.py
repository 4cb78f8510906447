"""Where an application stands, in words for whoever has sent it in."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from wallet.vouchers.apply_rules import (
    AGE,
    CHILDREN,
    DUPLICATE,
    NOT_LISTED,
    NOT_RESIDENT,
    PAPER_INCOMPLETE,
    UNCONFIRMED,
)

STATE_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "submitted": "申込を受け付けました。",
        "accepted": "申込の内容を確認しました。抽選の結果をお待ちください。",
        "rejected": "今回は抽選に参加できません。",
        "won": "当選しました。期限までに購入してください。",
        "lost": "今回は当選しませんでした。",
        "withdrawn": "申込を取り下げました。",
    }
)
"""By the state of an application; what came of a draw is there only once it was told."""

_APPEAL: Final = "違うときは、名簿が決まる前に市役所へお申し出ください。"

REASON_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        NOT_RESIDENT: "市内にお住まいの方が対象です。" + _APPEAL,
        AGE: "年齢の条件に合いませんでした。" + _APPEAL,
        CHILDREN: "お子さまの人数の条件に合いませんでした。" + _APPEAL,
        NOT_LISTED: "対象者の名簿に見つかりませんでした。" + _APPEAL,
        UNCONFIRMED: "条件に合うかどうかを確認できませんでした。" + _APPEAL,
        DUPLICATE: "同じ方の申込がほかにあります。" + _APPEAL,
        PAPER_INCOMPLETE: "申込書に読めないところや足りないところがありました。" + _APPEAL,
    }
)
"""By the reason of a rejection; each says how to have it looked at again."""
