"""The shop under faults, and whether its promises held: run by `scripts/chaos`.

Shoppers buy while processes are killed and paused. Then everything is healed, and a verdict is drawn from what each
part keeps by itself: the databases, the broker, the provider's own ledger, and what the shoppers were told.
"""
