"""What can come of a request to pay."""

from uuid import UUID

import msgspec

from wallet.auth.step_up_storage import Challenge
from wallet.core.refusals import Refusal
from wallet.payments.rules import Payment


class Paid(msgspec.Struct, frozen=True, gc=False):
    """The payment there is now, in whatever state; ``replayed`` when it was there before."""

    payment: Payment
    replayed: bool


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Nothing was decided and nothing kept; the same key may be used again."""

    refusal: Refusal


class Challenged(msgspec.Struct, frozen=True, gc=False):
    """Whoever pays by phone must pass this challenge, and then ask again with the same key."""

    challenge: Challenge


class Approved(msgspec.Struct, frozen=True, gc=False):
    """A challenge was passed that no payment waits for; the phone may ask again now."""

    challenge_id: UUID


Answer = Paid | Refused | Challenged | Approved
