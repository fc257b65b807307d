"""A payment provider for tests, demonstrations and chaos: an HTTP server with a ledger of its own.

It is not part of the service, as a real provider wouldn't be, and shares none of its code or data. It can be slow,
refuse, do what it is told and lose the answer, or be killed at any moment: what it has answered is in its ledger, and
what it does is done once per idempotency key.
"""
