"""Benefits: what a roster entitles people to, given once each, claimed, and taken back.

The office imports a roster, looks at what it would do, and has a colleague agree; the worker then
gives (:func:`wallet.benefits.run_due.run_due`). What nobody is known for yet is offered: its
beneficiary claims it by the code in a letter, or as who they are known to be.
"""
