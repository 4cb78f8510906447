"""Every "no" about cards and paper: what holders hear, and what desks and the office do."""

from functools import partial
from typing import Final

from wallet.api.wording import MONEY_IS_SAFE, MONEY_IS_SAFE_EASY, NextAction, Problem
from wallet.api.wording import for_staff as _staff

_for_people = partial(Problem, clerk="暗証番号は聞かず、カードの窓口をご案内ください。")


_HOLDERS: Final = (
    _for_people(
        code="card_pin_wrong",
        status=422,
        title="No card bears this number with this PIN",
        headline="カード番号か暗証番号がちがいます",
        body="カードと、いっしょに届いた手紙を見て、もう一度入力してください。" + MONEY_IS_SAFE,
        easy="番号(ばんごう)が ちがいます。手紙(てがみ)を 見(み)て ください。" + MONEY_IS_SAFE_EASY,
    ),
    _for_people(
        code="card_number_unknown",
        status=404,
        title="There is no such card, or it is somebody else's",
        headline="このカードは見つかりません",
        body="番号を確認してください。まだ使いはじめていないカードは、ここには出てきません。",
        easy="この カードは 見(み)つかりません。番号(ばんごう)を 見(み)て ください。",
    ),
    _for_people(
        code="card_of_another",
        status=409,
        title="The card was printed for, or is used with, another wallet",
        headline="このカードは、ほかのウォレットのものです",
        body="届いた手紙のあて名を確認してください。お困りのときは{phone}へ。",
        easy="この カードは ほかの 人(ひと)の ものです。{phone}に きいて ください。",
        next_action=NextAction.CALL_SUPPORT,
    ),
    _for_people(
        code="cards_too_many",
        status=409,
        title="The wallet has as many active cards as a wallet may have",
        headline="使えるカードがすでに3枚あります",
        body="使わないカードを止めてから、もう一度お試しください。" + MONEY_IS_SAFE,
        easy="カードが 多(おお)すぎます。使(つか)わない カードを 止(と)めて ください。",
    ),
    _for_people(
        code="card_cooling_off",
        status=409,
        title="How the holder signs in was changed a short while ago, so no card is added",
        headline="いまはカードを追加できません",
        body="端末や本人確認の方法が変わったため、12時間のあいだ追加できません。"
        + MONEY_IS_SAFE
        + "心当たりがなければ{phone}へお電話ください。",
        easy="いまは カードを ふやせません。明日(あした) ためして ください。{phone}",
        next_action=NextAction.CALL_SUPPORT,
    ),
)

_CARDS: Final = (
    _staff(
        "card_replaced",
        409,
        "Another card has taken this one's place already",
        "このカードはもう差し替えてあります",
        "新しいカードの番号で探してください。",
    ),
    _staff(
        "card_order_invalid",
        422,
        "An order has a number of cards or a list of different wallets, and limits that fit",
        "カードの注文の内容が正しくありません",
        "枚数か、重なりのないウォレットの一覧の、どちらか一方を入れてください。"
        "1回の上限は1日の上限以下にしてください。",
    ),
    _staff(
        "batch_unknown",
        404,
        "There is no such batch",
        "この注文はありません",
        "注文の一覧から選び直してください。",
    ),
    _staff(
        "batch_shipped",
        409,
        "The batch has left the house, and what was printed on it is kept nowhere",
        "この注文は発送済みです",
        "印刷の内容は残していません。刷り直すときは、取り消して新しく注文してください。",
    ),
    _staff(
        "batch_cancelled",
        409,
        "The batch was cancelled",
        "この注文は取り消されています",
        "新しく注文してください。",
    ),
)

_PAPER: Final = (
    _staff(
        "paper_unknown",
        404,
        "The batch has no booklets of these numbers",
        "この番号の冊はありません",
        "注文の冊数と番号を確認してください。",
    ),
    _staff(
        "paper_state",
        409,
        "Booklets among them cannot become this from where they are; `numbers` names the first",
        "いまの状態からは変更できない冊があります",
        "番号を確認し、変更できる冊だけを選んでください。",
    ),
    _staff(
        "paper_without_frame",
        422,
        "Paper is a set of a programme whose money is all of one kind",
        "この制度は紙の券にできません",
        "1つの種類のお金だけでできた枠の制度を選んでください。",
    ),
    _staff(
        "paper_sheets_uneven",
        422,
        "The face value of a set does not divide into so many sheets of the same worth",
        "額面を同じ金額の券に分けられません",
        "1冊の枚数を変えてください。",
    ),
    _staff(
        "paper_clearing_too_short",
        422,
        "Clearing ends before the last day on which shops take the money",
        "換金の期限が、使える期間より前です",
        "使える最後の日か、それより後の日にしてください。",
    ),
    _staff(
        "paper_sold_out",
        409,
        "The programme has fewer sets left than that",
        "この制度の残りより多い冊数です",
        "冊数を減らすか、制度の口数を増やしてください。",
    ),
    _staff(
        "paper_shop_unknown",
        404,
        "There is no such shop, or it has no register",
        "この店は登録されていません",
        "店の番号を確認してください。",
    ),
    _staff(
        "paper_entry_unknown",
        404,
        "Nothing was taken in under this name",
        "この受付の記録はありません",
        "受付の番号を確認してください。",
    ),
)

_NUMBERS: Final = (
    _staff(
        "period_invalid",
        422,
        "The period ends before it begins, or is of another age",
        "期間が正しくありません",
        "始まりの日を、終わりの日と同じか、それより前にしてください。",
    ),
)

CARDS: Final = (*_HOLDERS, *_CARDS, *_PAPER, *_NUMBERS)
"""The problems of cards, paper and numbers; none of them is met at a till."""
