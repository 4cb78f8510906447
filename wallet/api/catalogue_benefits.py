"""Every "no" about benefits: what the office hears of rosters, and what people hear of claims."""

from functools import partial
from typing import Final

from wallet.api.wording import MONEY_IS_SAFE, NextAction, Problem
from wallet.api.wording import for_staff as _staff

_for_people = partial(Problem, clerk="通知の番号などは聞かず、福祉の窓口をご案内ください。")


_ROSTERS: Final = (
    _staff(
        "roster_unreadable",
        422,
        "The file is neither CSV (UTF-8 or CP932) nor an XLSX workbook",
        "名簿を読めませんでした",
        "CSV(UTF-8またはShift_JIS)か、パスワードのないExcel(.xlsx)で保存し直してください。",
    ),
    _staff(
        "roster_columns",
        422,
        "A column is missing, unknown or there twice; `missing` and `unknown` name them",
        "名簿の列の名前がちがいます",
        "1行目の列の名前を、様式のとおりに直してください。",
    ),
    _staff(
        "roster_empty",
        422,
        "There is no row below the heading",
        "名簿に行がありません",
        "2行目から1人1行で記入してください。",
    ),
    _staff(
        "roster_too_large",
        422,
        "The roster has more rows, or unpacks to more, than one run may",
        "名簿が大きすぎます",
        "いくつかの名簿に分けて取り込んでください。",
    ),
    _staff(
        "benefit_programme_unknown",
        404,
        "There is no programme of this code whose money the city grants",
        "この給付の制度はありません",
        "制度コードを確認してください。購入して使う商品券の制度では給付できません。",
    ),
    _staff(
        "benefit_period_invalid",
        422,
        "The period is not 1 to 32 letters, digits and hyphens",
        "期間の書き方がちがいます",
        "2026-1 のように、半角の英数字とハイフン32文字までで記入してください。",
    ),
    _staff(
        "benefit_claim_until_invalid",
        422,
        "The last day to claim has gone by, or lies beyond the money's own last day",
        "受取期限の日を確認してください",
        "受取期限は、今日からお金の使用期限までの日にしてください。",
    ),
)

_RUNS: Final = (
    _staff(
        "benefit_run_unknown",
        404,
        "There is no such run",
        "この給付の名簿はありません",
        "一覧から選び直してください。",
    ),
    _staff(
        "benefit_run_not_draft",
        409,
        "The run was approved or withdrawn",
        "この名簿はもう変えられません",
        "承認済み、または取り下げ済みです。続けるには新しい名簿を取り込んでください。",
    ),
    _staff(
        "benefit_run_not_approved",
        409,
        "The run is not approved, or is done",
        "この名簿は実行中ではありません",
        "承認された、終わっていない名簿だけに行える操作です。",
    ),
    _staff(
        "benefit_run_empty",
        409,
        "No row of the roster could be accepted",
        "給付できる行がありません",
        "行ごとの理由を確認し、直した名簿を取り込んでください。",
    ),
    _staff(
        "benefit_run_changed",
        409,
        "The run is not what was agreed to",
        "承認された内容と変わっています",
        "いまの内容を確認し、もう一度申請してください。",
    ),
    _staff(
        "benefit_budget_short",
        409,
        "The budget does not suffice; `missing_yen` says by how much",
        "予算が{missing_yen:,}円足りません",
        "予算を追加するか、名簿を分けてください。",
    ),
    _staff(
        "benefit_rows_invalid",
        422,
        "The rows are none, too many at once, or more than one at the counter",
        "行の範囲を確認してください",
        "通知は10,000行まで、窓口での再発行は1行ずつ指定してください。",
    ),
    _staff(
        "benefit_grant_unknown",
        404,
        "There is no such grant that was paid",
        "この給付の記録はありません",
        "結果のファイルで番号を確認してください。",
    ),
    _staff(
        "claw_back_too_much",
        409,
        "More would be taken back than is left of the grant; `left_yen` says how much is",
        "取り戻せるのは{left_yen:,}円までです",
        "すでに取り戻した分を除いた金額で、もう一度申請してください。",
    ),
    _staff(
        "claw_back_under_way",
        409,
        "A claw-back of this grant is under way",
        "この給付はすでに取り戻しの途中です",
        "終わってから、結果を確認してください。",
    ),
    _staff(
        "beneficiary_ref_invalid",
        422,
        "The reference is not one that a roster could name",
        "受給者番号の書き方がちがいます",
        "名簿に記入する値と同じものを入力してください。マイナンバーは使えません。",
    ),
    _staff(
        "beneficiary_known",
        409,
        "The reference belongs to somebody already",
        "この受給者番号は登録済みです",
        "同じ番号がほかの人に結び付いていないか、記録を確認してください。",
    ),
)

_CLAIMS: Final = (
    _for_people(
        code="claim_code_wrong",
        status=422,
        title="The code or the birthday is wrong, the code was used, or it is too late",
        headline="番号か生年月日がちがいます",
        body="お手元の通知を見て、もう一度入力してください。続けてまちがえると番号が使えなくなり、"
        "窓口での再発行が必要です。受け取れる権利はそのままです。",
        easy="番号(ばんごう)か 生(う)まれた 日(ひ)が ちがいます。"
        "もう一度(いちど) 見(み)て ください。",
    ),
    _for_people(
        code="claim_not_proven",
        status=403,
        title="Only who was proven to be who they are may claim without a code",
        headline="本人の確認が必要です",
        body="デジタル認証アプリで本人の確認をするか、通知の番号で受け取ってください。",
        easy="あなたか どうか 確認(かくにん)します。手紙(てがみ)の 番号(ばんごう)でも できます。",
    ),
    _for_people(
        code="benefit_offer_unknown",
        status=404,
        title="There is nothing of this kind that the caller may claim now",
        headline="受け取れる給付が見つかりません",
        body="もう受け取ったか、受取期限を過ぎています。" + MONEY_IS_SAFE,
        easy="もらえる お金(かね)が ありません。もう もらったか、期限(きげん)が 終(お)わりました。",
        next_action=NextAction.VISIT_COUNTER,
    ),
)

BENEFITS: Final = (*_ROSTERS, *_RUNS, *_CLAIMS)
"""In this part of the catalogue."""
