"""Every "no" that only staff hear, in the words of a colleague: what is wrong, and what to do now.

Residents and shops never see these, so there is one wording and no easy one.
"""

from typing import Final

from wallet.api.wording import NextAction
from wallet.api.wording import for_staff as _staff

_SIGN_IN: Final = (
    _staff(
        "sign_in_required",
        401,
        "There is no session, or it is over",
        "サインインしてください",
        "サインインしていないか、時間が切れました。パスキーでサインインしてください。",
        next_action=NextAction.SIGN_IN,
    ),
    _staff(
        "reauthentication_required",
        401,
        "The passkey was shown too long ago for this",
        "もう一度パスキーで確認してください",
        "大切な操作のため、パスキーでの確認が必要です。入力した内容は残ります。",
        next_action=NextAction.STEP_UP,
    ),
    _staff(
        "sign_in_refused",
        401,
        "The passkey opens no account of staff",
        "サインインできませんでした",
        "パスキーを確認できませんでした。続くときは職員管理者にご連絡ください。",
    ),
    _staff(
        "passkey_last",
        409,
        "The last passkey cannot be removed",
        "最後のパスキーは消せません",
        "先に新しいパスキーを登録してください。",
    ),
    _staff(
        "session_unknown",
        404,
        "There is no such session",
        "サインインの記録が見つかりません",
        "すでに終わっています。一覧を開き直してください。",
    ),
    _staff(
        "enrolment_refused",
        403,
        "The enrolment codes are wrong, used or too old",
        "登録コードを確認できませんでした",
        "2つのコードを確認してください。期限は24時間です。切れたときは職員管理者にご連絡ください。",
    ),
    _staff(
        "enrolment_unknown",
        404,
        "There is no second enrolment code for this member to take",
        "渡せる登録コードがありません",
        "承認した本人だけが、1回だけ受け取れます。",
    ),
)

_POWERS: Final = (
    _staff(
        "permission_missing",
        403,
        "No role of the caller permits this",
        "この操作の権限がありません",
        "必要なときは職員管理者に相談してください。この試みは記録されました。",
    ),
    _staff(
        "own_affair",
        403,
        "Nobody acts on themselves or their family",
        "ご自身とご家族に関わる操作はできません",
        "ほかの職員に引き継いでください。この試みは記録されました。",
    ),
    _staff(
        "four_eyes",
        403,
        "Two different people are needed, who are not one family",
        "別の職員の確認が必要です",
        "ご自身やご家族の申請は承認できません。ほかの職員に依頼してください。",
    ),
    _staff(
        "approver_not_entitled",
        403,
        "The caller's role does not decide this requester's requests",
        "この申請を承認できる役割ではありません",
        "承認できる職員に依頼してください。",
    ),
    _staff(
        "reason_missing",
        422,
        "A reason of 4 to 500 characters is needed",
        "理由を入力してください",
        "4文字から500文字で、受付番号など後から確認できる内容にしてください。",
    ),
    _staff(
        "reason_personal",
        422,
        "The reason names somebody's number or address",
        "理由に個人の番号や連絡先が含まれています",
        "理由は消せない記録に残ります。受付番号で書いてください。",
    ),
)

_APPROVALS: Final = (
    _staff(
        "approval_unknown",
        404,
        "There is no such request",
        "申請が見つかりません",
        "一覧を開き直してください。",
    ),
    _staff(
        "approval_of_another",
        403,
        "Only who asked carries a request out",
        "申請した本人だけが実行できます",
        "申請した職員に伝えてください。",
    ),
    _staff(
        "approval_decided",
        409,
        "The request was decided before",
        "すでに承認または却下されています",
        "一覧を開き直して、結果を確認してください。",
    ),
    _staff(
        "approval_missing",
        409,
        "The request is not approved",
        "まだ承認されていません",
        "承認を待つか、却下の理由を確認してください。",
    ),
    _staff(
        "approval_executed",
        409,
        "The request was carried out before",
        "すでに実行されています",
        "もう一度行うときは、新しく申請してください。",
    ),
    _staff(
        "approval_expired",
        410,
        "The request is too old",
        "申請の期限が切れました",
        "72時間をこえました。新しく申請してください。",
    ),
    _staff(
        "approval_changed",
        409,
        "The request is not what was seen",
        "申請の内容が表示と違います",
        "開き直して内容を確認してください。続くときは情報セキュリティ担当に連絡してください。",
    ),
    _staff(
        "approval_void",
        409,
        "The requester or the approver may no longer do this",
        "承認が無効になりました",
        "承認の後に、担当者の役割や届け出が変わりました。新しく申請してください。",
    ),
    _staff(
        "approvals_too_many",
        409,
        "Too many requests of the caller wait for a decision",
        "承認待ちの申請が多すぎます",
        "承認を待ってから申請してください。",
    ),
)

_PEOPLE: Final = (
    _staff(
        "person_unknown",
        404,
        "There is no such person",
        "該当する方が見つかりません",
        "番号を確認してください。",
    ),
    _staff(
        "person_not_frozen",
        409,
        "The person is not frozen",
        "利用は止まっていません",
        "いまの状態を確認してください。",
    ),
    _staff(
        "support_code_wrong",
        404,
        "The support code and the contact belong to nobody together",
        "サポート番号と連絡先が一致しません",
        "電話の相手に、番号をもう一度確認してください。",
    ),
    _staff(
        "lookups_too_many",
        429,
        "The caller has looked up too much for now",
        "検索・表示の回数が上限をこえました",
        "しばらく待ってください。業務で必要なときは責任者に相談してください。",
        next_action=NextAction.WAIT,
    ),
)

_STAFF: Final = (
    _staff(
        "staff_unknown",
        404,
        "There is no such member of staff",
        "職員が見つかりません",
        "一覧を開き直してください。",
    ),
    _staff(
        "staff_exists",
        409,
        "This employee has an account already",
        "この職員番号は登録済みです",
        "登録は1人に1つです。再登録は、パスキーの再登録を申請してください。",
    ),
    _staff(
        "department_unknown",
        422,
        "There is no such department",
        "部署が見つかりません",
        "部署を選び直してください。",
    ),
    _staff(
        "role_unknown",
        422,
        "A role is unknown, or there is none",
        "役割を選んでください",
        "役割を選び直してください。",
    ),
    _staff(
        "role_of_other_department",
        422,
        "A role belongs to another department",
        "この部署では使えない役割があります",
        "部署と役割の組み合わせを確認してください。",
    ),
    _staff(
        "roles_incompatible",
        422,
        "A role that stands alone was combined with another",
        "組み合わせられない役割があります",
        "職員管理者と監査担当は、ほかの役割と兼ねられません。",
    ),
)

_OPERATIONS: Final = (
    _staff(
        "stop_scope_unknown",
        422,
        "There is no such scope of a stop",
        "停止の範囲が正しくありません",
        "範囲を選び直してください。",
    ),
    _staff(
        "stop_reason_missing",
        422,
        "A stop needs a reason",
        "停止の理由を入力してください",
        "500文字までで入力してください。",
    ),
    _staff(
        "stop_unknown",
        404,
        "There is no such stop",
        "停止の記録が見つかりません",
        "一覧を開き直してください。",
    ),
    _staff(
        "stop_released",
        409,
        "The stop is over, or was a drill",
        "この停止は終わっています",
        "一覧を開き直して、いまの状態を確認してください。",
    ),
    _staff(
        "release_requested",
        409,
        "Somebody has asked for the release already",
        "解除はすでに申請されています",
        "別の職員が確認すると解除されます。",
    ),
    _staff(
        "release_not_requested",
        409,
        "Nobody has asked for the release",
        "解除が申請されていません",
        "先に1人が解除を申請し、別の職員が確認します。",
    ),
    _staff(
        "incident_unknown",
        404,
        "There is no such incident",
        "事故の記録が見つかりません",
        "一覧を開き直してください。",
    ),
    _staff(
        "incident_closed",
        409,
        "The incident is closed",
        "この事故の記録は閉じられています",
        "続きがあるときは、新しい記録を作ってください。",
    ),
    _staff(
        "incident_text_missing",
        422,
        "A text is missing or too long",
        "記録の文を入力してください",
        "空欄か、長すぎる文があります。",
    ),
    _staff(
        "incident_time_invalid",
        422,
        "The incident was noticed in the future",
        "気づいた時刻が正しくありません",
        "時刻を確認してください。",
    ),
    _staff(
        "incident_contact_missing",
        409,
        "Nobody has written down who was told first",
        "最初に連絡した先が未記入です",
        "記入してから閉じてください。",
    ),
    _staff(
        "report_not_owed",
        409,
        "No such report is owed",
        "この報告は残っていません",
        "すでに済んだか、必要のない報告です。一覧を確認してください。",
    ),
    _staff(
        "reports_owed",
        409,
        "Reports are still owed",
        "まだ出していない報告があります",
        "すべての報告を済ませてから閉じてください。",
    ),
)

STAFF: Final = (
    *_SIGN_IN,
    *_POWERS,
    *_APPROVALS,
    *_PEOPLE,
    *_STAFF,
    *_OPERATIONS,
)
"""The problems that nobody but staff can meet."""

STAFF_CODES: Final = frozenset(problem.code for problem in STAFF)
