"""Points and local coin: gifts, civic events, steps, exchanges, charges, and what shops do.

Every kind of money work here is one object for the teller, as everywhere: :data:`~.give.GIVE`,
:data:`~.claim.SETTLE_GIFT`, :data:`~.attend.ATTEND`, :data:`~.walk.WALK`,
:data:`~.exchange.EXCHANGE`, :data:`~.charge.CHARGE` and :data:`~.shops.MOVE_TAKINGS`. Residents'
phones ask for the first five and get their answer at once. What was paid for and what the office
has decided for shops is moved by the worker (:func:`~.run_due.run_due`).
"""
