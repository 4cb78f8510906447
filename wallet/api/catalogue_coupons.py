"""Every "no" about coupons."""

from typing import Final

from wallet.api.wording import MONEY_IS_SAFE, MONEY_IS_SAFE_EASY, in_the_app

COUPONS: Final = (
    in_the_app(
        code="coupon_unknown",
        status=404,
        title="There is no such coupon",
        headline="クーポンが見つかりません",
        body="クーポンのコードをもう一度ご確認ください。" + MONEY_IS_SAFE,
        easy="クーポンが わかりません。コードを もう一度(いちど) 見(み)て ください。"
        + MONEY_IS_SAFE_EASY,
    ),
    in_the_app(
        code="coupon_over",
        status=409,
        title="The coupon cannot be used any more, or not yet",
        headline="このクーポンは、いまは使えません",
        body="期間の前か後か、使える回数が終わっています。お支払いはふだんどおりできます。"
        + MONEY_IS_SAFE,
        easy="この クーポンは いま 使(つか)えません。"
        "お金(かね)は いつもの とおり はらえます。" + MONEY_IS_SAFE_EASY,
    ),
)
"""What the doors of coupons may answer with."""
