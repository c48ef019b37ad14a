"""A ledger whose every rule holds, to be broken one way at a time."""

import polars as pl

COLUMNS = {
    "seq": pl.Int64,
    "dispatch_id": pl.String,
    "route": pl.String,
    "variant": pl.String,
    "planned_ns": pl.Int64,
    "sent_ns": pl.Int64,
    "done_ns": pl.Int64,
    "state": pl.String,
    "reason": pl.String,
    "queue_ms": pl.Float64,
    "run_ms": pl.Float64,
    "total_ms": pl.Float64,
}


def row(seq: int, state: str = "completed", **changes: object) -> dict[str, object]:
    planned = seq * 1_000_000
    sent = state not in ("dropped", "cancelled_unsent")
    done = state == "completed"
    good = {
        "seq": seq,
        "dispatch_id": f"d{seq}",
        "route": "v",
        "variant": "v" if sent else None,
        "planned_ns": planned,
        "sent_ns": planned + 500 if sent else None,
        "done_ns": planned + 9_000_000 if done else None,
        "state": state,
        "reason": None if done else "because",
        "queue_ms": 1.5 if done else None,
        "run_ms": 7.0 if done else None,
        "total_ms": 9.0 if done else None,
    }
    return {**good, **changes}


def ledger(*rows: dict[str, object], good: int = 5) -> pl.DataFrame:
    """`good` completed rows, then one of every other end, then `rows`."""
    ends = [
        row(1000 + n, s) for n, s in enumerate(("failed", "cancelled_sent", "unknown", "dropped", "cancelled_unsent"))
    ]
    return pl.DataFrame([*(row(n) for n in range(good)), *ends, *rows], schema=COLUMNS)
