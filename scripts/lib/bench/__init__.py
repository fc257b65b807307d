"""What the mesh costs, against its budgets: run by `scripts/bench`.

Every comparison runs both sides in turn on the same machine in the same minutes, and its verdict is about their ratio.
"""
