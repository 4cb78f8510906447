"""A refusal is an expected "no" with a stable code; it is a value, not an accident.

The words for people and the HTTP status belong to the doors; here is only what happened.
"""

from typing import Any

import msgspec


class Refusal(msgspec.Struct, frozen=True):
    """Why something was not done.

    ``code`` is stable for ever and listed in the catalogue of the doors; ``facts`` are the
    numbers and names a message needs (amounts in yen), never secrets or personal data.
    """

    code: str
    facts: dict[str, Any] = {}


class RefusedError(Exception):
    """Carries a :class:`Refusal` up to the door where it is not the main path's answer."""

    def __init__(self, code: str, **facts: Any) -> None:  # noqa: ANN401 - facts are free-form
        super().__init__(code)
        self.refusal = Refusal(code=code, facts=facts)
