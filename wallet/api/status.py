"""``GET /status``: what the city has stopped right now, for everybody, in words for everybody.

The texts were approved beforehand. A shop or a range of cards is never named here: that somebody
is looked into is nobody else's business.
"""

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from wallet.api.openapi import Responses, component, problems
from wallet.api.render_status import status_body
from wallet.ops.board import KEPT_S, Board

router = APIRouter(tags=["status"])

_encode: Final = msgspec.json.Encoder().encode
_RESPONSES: Final[Responses] = {
    200: component("StatusBody", "What is stopped, at most a few seconds ago"),
    **problems(500, 503),
}
_ANYBODY: Final[dict[str, Any]] = {"security": []}


@router.get(
    "/status",
    responses=_RESPONSES,
    summary="Get what is stopped",
    operation_id="get_status",
    openapi_extra=_ANYBODY,
)
async def status(request: Request) -> Response:
    """Return what the city has stopped, since when, and when there will be more to hear.

    Anybody may ask. Each text is in Japanese, in easy Japanese and in English.
    """
    board: Board = request.app.state.board
    body = status_body(await board.look(), livemode=request.app.state.livemode)
    return Response(
        _encode(body),
        media_type="application/json",
        headers={"cache-control": f"public, max-age={int(KEPT_S)}"},
    )
