"""What a gateway shows beside what is recorded, and making them agree again."""

from __future__ import annotations

from typing import Any

from pointsman.errors import RunFailed
from pointsman.ids import RouteKey
from pointsman.model import Binding
from pointsman.routing import Reconciled, current, history, in_words, reconcile, shown_by
from pointsman.routing import drift as compare
from pointsman.workspace import Workspace
from service.cli.output import agree, console, emit, table
from service.cli.running import connect


def show_drift(ws: Workspace, key: RouteKey, gateway: str | None, *, restore: bool, yes: bool, as_json: bool) -> None:
    """Raises `RunFailed` (`routing_drift`) for a difference that is not to be, or could not be, restored."""
    connect()
    from tasks.opening import open_gateway

    door = open_gateway(str(key), gateway)
    found = compare(ws, door, key)
    recorded = current(ws, key)
    shown = found.shown if found else recorded
    # A change that was cut short before the gateway is no difference yet, and is ended as well.
    done = _restored(ws, key, door, found is not None, yes) if restore else None
    document = {
        "route_key": str(key),
        "recorded": _document(recorded),
        "shown": _document(shown),
        "drift": found.why if found else None,
        "restored": {"done": done.done, "serves": _document(done.serves)} if done else None,
    }

    def render() -> None:
        rows = [(name, one.generation if one else "", _traffic(one)) for name, one in _rows(recorded, shown, done)]
        table(f"Binding of {key}", ("", "generation", "traffic"), rows)
        console.print(f"They differ: {found.why}." if found else "Record and gateway agree.", markup=False)

    emit(as_json, document, render)
    if found is not None and done is None:
        held = shown_by(ws, key)
        raise RunFailed(
            f"The gateway {held.gateway if held else gateway} does not show what is recorded of {key}: {found.why}.",
            instruction=f"pointsman route show {key} --drift --restore",
            code="routing_drift",
        )


def _restored(ws: Workspace, key: RouteKey, door: Any, differs: bool, yes: bool) -> Reconciled:
    left = next((one for one in history(ws, key) if one.status == "applying"), None)
    if left is not None and left.kind == "rollback":
        agree(yes, key, f"Finish what was cut short on {key}: {left.binding.cause}.")
    elif differs:
        agree(yes, key, f"Let the gateway show again what is recorded of {key}.")
    return reconcile(ws, door, key)


def _rows(recorded: Binding | None, shown: Binding | None, done: Reconciled | None) -> list[tuple[str, Binding | None]]:
    after = [("now in both", done.serves)] if done and done.done != "nothing" else []
    return [("recorded", recorded), ("the gateway shows", shown), *after]


def _document(binding: Binding | None) -> dict[str, Any] | None:
    if binding is None:
        return None
    weights = {str(variant): weight for variant, weight in binding.weights.items()}
    return {"generation": binding.generation, "weights": weights, "cause": binding.cause}


def _traffic(binding: Binding | None) -> str:
    return in_words(binding) if binding else "none"
