"""What a look at a route found, and the artifact that shows it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from pointsman import routing
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Missing
from pointsman.reporting import Figures, Report, Section, Table, escape_markdown
from pointsman.workspace import Workspace
from tasks.opening import open_price_book


class Watched(BaseModel):
    """What a look at a route found. `variant` is the one whose promise is held; None: there is none to hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route_key: str
    generation: int
    variant: str | None
    verdict_id: str | None
    nothing_promised: str
    """Why there is no promise to hold; empty when there is."""
    gateway: str
    """What the gateway showed: `agrees`, `restored`, or why it drifted."""
    routed_file: str | None = None
    """The ledger of the routed jobs, below the results."""
    promises: tuple[dict[str, str], ...] = ()
    broken: str = ""
    astray: str = ""
    """Which routed jobs did not go where they should have gone; empty when all did."""
    expired: str = ""
    """Why what serves is not what the verdict was about any more; empty while no change is known."""
    overtaken_by: int | None = None
    """The generation that took over in the middle of the look, of which nothing that was found says anything."""
    confirmed: bool = False
    rolled_back_to: int | None = None

    @property
    def drifted(self) -> str:
        """What is not as it should be, in words; empty when everything is, or another generation took over."""
        if self.overtaken_by is not None:
            return ""
        gateway = "" if self.gateway in ("agrees", "restored") else f"the gateway does not agree: {self.gateway}"
        broken = self.broken and f"production does not keep what the verdict promised: {self.broken}"
        return "; ".join(one for one in (gateway, self.astray, broken) if one)

    @property
    def all_kept(self) -> bool:
        """Whether every promise was held against enough jobs, is kept, and is still about what serves."""
        known = bool(self.promises) and all(one["state"] == "kept" for one in self.promises)
        return known and not self.expired and not self.drifted and self.overtaken_by is None


def watch_report(ws: Workspace, watched: Watched, price_book: str) -> Report:
    """What a look found, the answer first."""
    key = RouteKey.parse(watched.route_key)
    facts: list[tuple[str, str]] = [
        ("route", watched.route_key),
        ("generation", str(watched.generation)),
        ("variant", VariantId.parse(watched.variant).label if watched.variant else watched.nothing_promised),
        ("verdict", watched.verdict_id or "none"),
        ("gateway", watched.gateway),
    ]
    if watched.astray:
        facts.append(("routed jobs", watched.astray))
    if watched.expired:
        facts.append(("the verdict has expired", watched.expired))
    facts += _held(ws, key, watched, price_book)
    if watched.drifted:
        facts.append(("what to do", what_to_do(watched)))
    sections: list[Section] = [Figures(facts)]
    if watched.promises:
        rows = [(one["name"], one["promised"], one["found"], one["state"]) for one in watched.promises]
        sections.append(Table(("promise", "promised", "found", "state"), rows, title="Promises"))
    return Report(f"Watch of {watched.route_key}", answer(watched), tuple(sections))


def gone_back(watched: Watched) -> str:
    """What the look did about it by itself; empty when nothing."""
    number = watched.rolled_back_to
    return "" if number is None else f" Generation {number} has the old content again."


def what_to_do(watched: Watched) -> str:
    """About what is not as it should be."""
    if watched.rolled_back_to is not None:
        return f"pointsman route history {watched.route_key}"
    if watched.broken:
        return f"pointsman route rollback {watched.route_key}"
    return f"pointsman route show {watched.route_key} --drift --restore"


def answer(watched: Watched) -> str:
    """What the look came to, in a sentence."""
    if watched.overtaken_by is not None:
        return (
            f"Generation {watched.overtaken_by} took over from {watched.generation} in the middle of the look, which "
            "therefore says nothing."
        )
    if watched.drifted:
        return f"**Drift**: {escape_markdown(watched.drifted)}.{gone_back(watched)}"
    if watched.variant is None:
        return f"Nothing is held against production, as {watched.nothing_promised}; the gateway {watched.gateway}."
    open_ones = [one["name"] for one in watched.promises if one["state"] != "kept"]
    if not open_ones:
        return f"Production keeps what the verdict promised; the gateway {watched.gateway}."
    return (
        f"Nothing broken was found, but too little is known of {', '.join(open_ones)}; the gateway {watched.gateway}."
    )


def _held(ws: Workspace, key: RouteKey, watched: Watched, price_book: str) -> list[tuple[str, str]]:
    if watched.confirmed:
        return [("the switch", "is confirmed: what served before is held no longer")]
    held = routing.open_hold(ws, key)
    if held is None:
        return []
    cost = held.usd(open_price_book(price_book), ws.clock.now())
    shown = str(cost) if isinstance(cost, Missing) else f"{cost:.4f} USD"
    due = f"to be confirmed from {held.due_at:%F %T} UTC, by a look that finds every promise kept"
    return [
        ("still held", f"generation {held.generation}, since {held.since:%F %T} UTC; {due}"),
        ("cost of holding so far", shown),
    ]
