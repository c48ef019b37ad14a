"""the cells of a round in their order

With the order in the index a round is read without the others: SQLite took the index of the order before, and read the
whole matrix for each round. The state is in it, so that cells are counted from the index alone.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_TABLE = "benchmark_matrix_run_items"


def upgrade() -> None:
    _indexed("benchmark_id", "round", "seq", "status")


def downgrade() -> None:
    _indexed("benchmark_id", "round", "status")


def _indexed(*columns: str) -> None:
    op.drop_index("ix_items_round", table_name=_TABLE)
    op.create_index("ix_items_round", _TABLE, list(columns))
