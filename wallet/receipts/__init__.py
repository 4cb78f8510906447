"""Receipts: money that a payment provider takes in for the city, and what it turns out to be for.

The room asks for payments and notes what providers report; it does not know what is bought. A
room above that sells something goes four steps:

1. In the transaction that writes what is sold, :func:`~wallet.receipts.request_payment
   .request_payment` writes an order and returns the slip by which it is paid, at a convenience
   store, by card or by bank transfer. :func:`~wallet.receipts.request_payment.cancel_payment`
   takes back one that nobody has paid.
2. The provider reports the money to a door, which submits a
   :class:`~wallet.receipts.note_receipt.NoteReceipt`. The order is paid by exactly its amount,
   and the money is in the programme's clearing account in the same transaction. Whatever matches
   nothing is in suspense, on a work list, until two people have said what it is for.
3. A job of the worker asks :func:`~wallet.receipts.take_paid.take_paid` for paid orders of its
   purpose, oldest first, fulfils each idempotently (ids derived from the order's or from its
   reference), and says so with :func:`~wallet.receipts.take_paid.mark_settled`. An order that
   was not marked is given again, so nothing that was paid for is forgotten, and a crash between
   the two steps costs a repeat and never money.
4. An order that nobody paid is closed by :func:`~wallet.receipts.run_due.run_due` some time after
   it has run out, because providers report late; until then its state is ``waiting``, and what is
   kept for its buyer must stay kept. The order's row decides who was first, the money or the
   clock: what it is for lapses only after the order has left ``waiting`` unpaid.
"""
