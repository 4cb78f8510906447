"""Every "no" about programmes: their drafts, their life, and the days of the law."""

from typing import Final

from wallet.api.wording import MONEY_IS_SAFE, MONEY_IS_SAFE_EASY, Problem, for_staff

PROGRAMMES: Final = (
    Problem(
        code="programme_unknown",
        status=404,
        title="There is no such programme",
        headline="この制度は見つかりません",
        body="名前が変わったか、終わった制度です。一覧から選び直してください。" + MONEY_IS_SAFE,
        easy="この お金(かね)は 見(み)つかりません。もう一度(いちど) えらんで ください。",
        clerk="制度のコードを確認してください。一覧から選び直せます。",
    ),
    Problem(
        code="programme_not_live",
        status=409,
        title="The programme has not begun",
        headline="この制度はまだ始まっていません",
        body="始まる日をアプリで確認して、その日からお手続きください。" + MONEY_IS_SAFE,
        easy="まだ 始(はじ)まって いません。始(はじ)まる 日(ひ)を 見(み)て ください。"
        + MONEY_IS_SAFE_EASY,
        clerk="開始日より前です。開始日をご案内ください。",
    ),
    for_staff(
        "programme_invalid",
        422,
        "The draft cannot be a programme; each of `problems` says why",
        "制度の案に直すところがあります",
        "直すところは項目ごとに示しています。直してから、もう一度保存してください。",
    ),
    for_staff(
        "programme_unlawful",
        409,
        "The legal check of the draft has open findings; `problems` has them",
        "法令の確認が済んでいません",
        "残っている指摘を直すか、確認の済んだ設定を confirmed に書いてください。",
    ),
    for_staff(
        "draft_unknown",
        404,
        "There is no such revision",
        "制度の案が見つかりません",
        "一覧を開き直してください。",
    ),
    for_staff(
        "draft_changed",
        409,
        "There is a later revision; `revision` names it",
        "ほかの職員が新しい版を保存しています",
        "最新の版を開いて、変更をやり直してください。",
    ),
    for_staff(
        "draft_in_review",
        409,
        "The latest revision is being reviewed",
        "この案は審査中です",
        "直すときは、先に審査を取り下げてください。",
    ),
    for_staff(
        "draft_state",
        409,
        "The revision is not in a state for that; `state` names it",
        "いまの状態では、その操作はできません",
        "案を開き直して、状態を確認してください。",
    ),
    for_staff(
        "day_passed",
        422,
        "The day is over, or beyond the programme's last",
        "開始日が正しくありません",
        "今日から、使える最後の日までの日付を選んでください。",
    ),
    for_staff(
        "base_date_invalid",
        422,
        "The day is neither 31 March nor 30 September",
        "基準日ではありません",
        "3月31日か9月30日を選んでください。",
    ),
    for_staff(
        "day_to_come",
        422,
        "The day is not over in Japan",
        "まだ終わっていない日です",
        "日本時間でその日が終わってから、もう一度開いてください。",
    ),
)
"""The problems that the rooms and doors of programmes tell."""
