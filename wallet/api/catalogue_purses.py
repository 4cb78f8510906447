"""Every "no" about the end of money: refunds of payments, later days, and refunds to buyers."""

from typing import Final

from wallet.api.wording import MONEY_IS_SAFE, MONEY_IS_SAFE_EASY, NextAction, Problem, for_staff

_REFUNDS: Final = (
    Problem(
        code="payment_not_refundable",
        status=409,
        title="The payment did not succeed, so there is nothing to give back",
        headline="この支払いは成立していません",
        body="支払いが成立していないため、返金するものがありません。" + MONEY_IS_SAFE,
        easy="この 支払い(しはらい)は できて いません。返(かえ)す お金(かね)は ありません。"
        + MONEY_IS_SAFE_EASY,
        clerk="不成立の取引です。取引番号を確認してください。",
    ),
    Problem(
        code="payment_refunded",
        status=409,
        title="All of the payment has been given back",
        headline="この支払いは全額返金済みです",
        body="すでに全額をお返ししています。アプリの履歴で確認してください。",
        easy="お金(かね)は もう 全部(ぜんぶ) 返(かえ)しました。アプリで 見(み)て ください。",
        clerk="全額返金済みです。これ以上の返金はできません。",
    ),
    Problem(
        code="refund_exceeds_payment",
        status=409,
        title="More than `left_yen`, which is what has not been given back of the payment",
        headline="返金できる金額をこえています",
        body="支払った金額より多くは返金できません。お店の人に金額を確認してもらってください。",
        easy="払(はら)った お金(かね)より 多(おお)く 返(かえ)せません。"
        "お店(みせ)の 人(ひと)に 聞(き)いて ください。",
        clerk="返金できる残りの金額（left_yen）以内で、もう一度お手続きください。",
    ),
    Problem(
        code="refund_of_paper",
        status=409,
        title="A payment by paper voucher is not given back to the booklet",
        headline="紙の券での支払いは返金できません",
        body="使った紙の券は元に戻せません。お店の人に、別の方法での対応を相談してください。",
        easy="紙(かみ)の 券(けん)は 元(もと)に もどせません。"
        "お店(みせ)の 人(ひと)に 聞(き)いて ください。",
        clerk="紙の券の取引です。回収した券の扱いは、換金センターに相談してください。",
    ),
    Problem(
        code="refund_purse_expired",
        status=409,
        title="The money's last day (`expired_on`) is over, and its programme takes nothing back",
        headline="使用期限を過ぎたお金のため返金できません",
        body="この制度では、期限を過ぎたお金は戻せません。お店の人に、別の方法での対応を相談してください。",
        easy="使(つか)える 日(ひ)が 終(お)わりました。お金(かね)は もどせません。"
        "お店(みせ)の 人(ひと)に 聞(き)いて ください。",
        clerk="期限後の返金を受け付けない制度です。交換など、別の方法で対応してください。",
    ),
)

_FOR_STAFF: Final = (
    for_staff(
        "extension_unlawful",
        409,
        "The law on prepaid money does not let this be extended; `rule` names it",
        "この制度の期限は延ばせません",
        "市以外が発行する前払式の制度は、期限を延ばせません。法令の確認の担当に相談してください。",
    ),
    for_staff(
        "extension_too_late",
        409,
        "The purses' last day is over already",
        "元の期限がすでに過ぎています",
        "期限の切れたお金は戻せません。まだ期限の来ていない日を選んでください。",
    ),
    for_staff(
        "extension_day_invalid",
        422,
        "The new last day must be after the old one and no later than `latest_day`",
        "新しい期限の日付を直してください",
        "元の期限より後で、1年以内の日を選んでください。",
    ),
    for_staff(
        "extension_reaches_nobody",
        409,
        "There are no purses of that last day",
        "その期限のお金を持っている人がいません",
        "制度と元の期限を確認してください。",
    ),
    for_staff(
        "extension_under_way",
        409,
        "Another extension of the same purses has not been carried out yet",
        "同じお金の延長がまだ終わっていません",
        "先の延長が終わるまでお待ちください。数分で終わります。",
        next_action=NextAction.WAIT,
        retry_after_s=60,
    ),
    for_staff(
        "buyer_refund_too_many",
        422,
        "Name at least one wallet and no more than `most`",
        "返金する人の数を直してください",
        "1人以上、上限以内で選んでください。多いときは何回かに分けてください。",
    ),
    for_staff(
        "buyer_refund_nothing_left",
        409,
        "The wallet has no paid money of the programme left",
        "返金するお金が残っていません",
        "買った分はすべて使われたか、期限が過ぎています。本人に残高をご案内ください。",
    ),
    for_staff(
        "buyer_refund_ratio",
        409,
        "More than the law lets be refunded in this half-year; `left_yen` may be",
        "法令で返金できる割合をこえます",
        "この半期に返金できる残りをこえました。次の半期まで待つか、担当に相談してください。",
    ),
)

PURSES: Final = (*_REFUNDS, *_FOR_STAFF)
