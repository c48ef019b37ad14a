"""The waterfall of one accepted output in production: from the list price to what is paid, each line with its basis."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias

from pointsman.economics.attempts import Charged
from pointsman.economics.entries import Foreign
from pointsman.economics.parts import Parts
from pointsman.economics.pricing import total
from pointsman.economics.production import Production
from pointsman.model import Missing, Number

NAT_SKU = "nat:gb"
DAYS_PER_MONTH = Decimal(365) / 12
ONE_OFF = ("migration", "dual running")
OF_COMPUTE = (
    *("list price", "retries", "failed and refused outputs", "Spot loss"),
    *("idle", "cold start", "minimum billing", "commitments"),
)
_NOTHING = Decimal(0)
_NO_VOLUME = Missing("outputs per month are not declared")

LineBasis: TypeAlias = Literal["measured", "estimated", "missing"]


@dataclass(frozen=True, slots=True)
class Line:
    """USD per accepted output. `why` says what an estimate rests on, or why an amount is not known."""

    name: str
    usd: Number
    basis: LineBasis
    why: str = ""


@dataclass(frozen=True, slots=True)
class OutputCost:
    """What one accepted output costs in production.

    `fixed` capacity is paid on when its work goes elsewhere, and so is `committed_usd` (per output, as long as there
    are so many), which buys `committed_share` of what the capacity costs on demand. `one_off_usd` is what the switch to
    this variant costs once.
    """

    lines: tuple[Line, ...]
    fixed: bool
    committed_usd: Number
    committed_share: Number
    one_off_usd: Number

    def running(self, without: Collection[str] = ()) -> Number:
        """What each further output costs: without the cost of switching and the lines named."""
        return total(line.usd for line in self.lines if line.name not in ONE_OFF and line.name not in without)

    def sunk(self, without: Collection[str] = ()) -> Number:
        """What of it is paid on when the work goes elsewhere.

        A commitment is paid on without its line, too: then it is what it buys of the lines that are left.
        """
        compute = total(line.usd for line in self.lines if line.name in OF_COMPUTE and line.name not in without)
        if self.fixed:
            return compute
        return _product(compute, self.committed_share) if "commitments" in without else self.committed_usd


@dataclass(frozen=True, slots=True)
class Setting:
    """What the cost of an output depends on beside its variant.

    `judging_usd` is what judging one output cost, `nat_usd` what a GB through a NAT gateway does. `foreign` are the
    lines of outputs (egress, NAT, storage) whose price is quoted in another currency.
    """

    production: Production
    judging_usd: Number
    nat_usd: Number
    foreign: Mapping[str, Foreign] = field(default_factory=dict)


def output_cost(parts: Parts, setting: Setting, incumbent: Parts | None = None) -> OutputCost:
    """Put the waterfall of one variant together. Without `incumbent` it is the incumbent: nothing is switched."""
    production = setting.production
    spot = parts.lost
    spot_basis: LineBasis = parts.basis
    spot_why = ""
    if parts.lost == 0 and parts.expected_loss is not None:
        spot, spot_basis, spot_why = parts.expected_loss, "estimated", "none was measured; interruptions are declared"
    lines = [
        _line("list price", parts.list_price, parts.basis),
        _line("retries", parts.retries, parts.basis),
        _line("failed and refused outputs", parts.failed, parts.basis),
        _line("Spot loss", spot, spot_basis, spot_why),
        *(
            _hosted(parts, name, amount)
            for name, amount in (
                ("idle", parts.idle),
                ("cold start", parts.cold_start),
                ("minimum billing", parts.minimum_billing),
            )
        ),
    ]
    on_demand = total(line.usd for line in lines)
    lines += [
        _commitments(parts, production, on_demand),
        _line("egress", parts.egress, "estimated", "measured sizes, declared deliveries"),
        _nat(parts, setting),
        _line("storage", parts.storage, "estimated", "measured sizes, a month each"),
        _judging(setting),
    ]
    lines.append(_exchange(parts, setting, lines))
    migration, dual = _switching(parts, production, incumbent)
    once = total((migration.usd, dual.usd))
    lines += [_spread(migration, production), _spread(dual, production)]
    return OutputCost(
        lines=tuple(lines),
        fixed=parts.hosting is not None and parts.hosting.fixed,
        committed_usd=_committed(parts, production),
        committed_share=_committed_share(parts, production, on_demand),
        one_off_usd=once,
    )


def _line(name: str, usd: Number, basis: LineBasis, why: str = "") -> Line:
    return Line(name, usd, "missing", usd.reason) if isinstance(usd, Missing) else Line(name, usd, basis, why)


def _hosted(parts: Parts, name: str, usd: Number) -> Line:
    if not parts.timed:
        return Line(name, _NOTHING, "measured", f"{parts.provider} is paid for what it delivers")
    return _line(name, usd, "estimated", "" if parts.hosting is None else parts.hosting.source)


def _commitments(parts: Parts, production: Production, on_demand: Number) -> Line:
    name = "commitments"
    if not parts.timed:
        return Line(name, _NOTHING, "measured", f"{parts.provider} is paid for what it delivers")
    if parts.hosting is None:
        return _line(name, parts.idle, "estimated")
    committed = parts.hosting.commitment
    if committed is None:
        return Line(name, _NOTHING, "estimated", "none is declared")
    if production.outputs_per_month is None:
        return _line(name, _NO_VOLUME, "missing")
    if isinstance(on_demand, Missing):
        return _line(name, on_demand, "missing")
    volume = Decimal(production.outputs_per_month)
    return _line(name, committed.adjustment(on_demand * volume) / volume, "estimated", parts.hosting.source)


def _nat(parts: Parts, setting: Setting) -> Line:
    through = setting.production.through_nat
    if through is None:
        return _line("NAT", Missing("which providers' outputs come in through NAT is not declared"), "missing")
    if parts.provider not in through:
        return Line("NAT", _NOTHING, "estimated", f"declared: only for {', '.join(through) or 'none'}")
    return _line("NAT", _product(parts.output_gb, setting.nat_usd), "estimated", "measured sizes, once each")


def _judging(setting: Setting) -> Line:
    share = setting.production.judged_share
    if share is None:
        return _line("production judging", Missing("which share of outputs is judged is not declared"), "missing")
    usd = _product(setting.judging_usd, Decimal(str(share)))
    return _line("production judging", usd, "estimated", "what judging cost here, for the declared share")


def _exchange(parts: Parts, setting: Setting, lines: Sequence[Line]) -> Line:
    """What changing money adds to the price book's rates: the fee, and how the rates moved since."""
    name, production = "foreign exchange", setting.production
    paid_abroad = [(line, setting.foreign[line.name]) for line in lines if line.name in setting.foreign and line.usd]
    currencies = sorted({one.currency for one in parts.foreign} | {quoted.currency for _, quoted in paid_abroad})
    if not currencies:
        return Line(name, _NOTHING, "measured", "everything is charged in USD")
    if production.fx_fee is None:
        return _line(name, Missing(f"what changing {', '.join(currencies)} costs is not declared"), "missing")
    beside = _share(total((parts.idle, parts.cold_start, parts.minimum_billing)), parts.compute)
    unknown = total((beside if parts.foreign else _NOTHING, *(line.usd for line, _ in paid_abroad)))
    if isinstance(unknown, Missing):
        return _line(name, unknown, "missing")
    charged = [(one, 1 + beside) for one in parts.foreign if not isinstance(beside, Missing)]
    for line, quoted in paid_abroad:
        if not isinstance(line.usd, Missing):
            charged.append((Charged(quoted.currency, line.usd, line.usd / quoted.rate), Decimal(1)))
    fee = Decimal(str(production.fx_fee))
    added = _NOTHING
    for one, times in charged:
        rate = production.fx_rates.get(one.currency)
        now = one.usd if rate is None else one.amount * Decimal(str(rate))
        added += (now * (1 + fee) - one.usd) * times
    moved = ", ".join(one for one in currencies if one in production.fx_rates)
    since = f", and the declared rate of {moved}" if moved else ""
    return Line(name, added, "estimated", f"the declared fee{since}, on top of the price book's rates")


def _share(part: Number, whole: Number) -> Number:
    if isinstance(part, Missing) or isinstance(whole, Missing):
        return total((part, whole))
    return part / whole if whole else _NOTHING


def _switching(parts: Parts, production: Production, incumbent: Parts | None) -> tuple[Line, Line]:
    """What switching to a variant costs once. While both run, the incumbent's capacity is held and paid."""
    if incumbent is None:
        stays = "it is the incumbent"
        return Line("migration", _NOTHING, "measured", stays), Line("dual running", _NOTHING, "measured", stays)
    migration = _line("migration", _declared(production.migration_usd, "what migrating costs"), "estimated")
    days = _declared(production.dual_run_days, "how long both run")
    if not incumbent.timed:
        why = f"{incumbent.provider} is paid for what it delivers: holding it costs nothing"
        return migration, Line("dual running", _NOTHING, "measured", why)
    if incumbent.hosting is not None and incumbent.hosting.fixed:
        why = f"{incumbent.provider} is paid on whether it is used or not"
        return migration, Line("dual running", _NOTHING, "estimated", why)
    held = total((incumbent.compute, incumbent.idle, incumbent.cold_start, incumbent.minimum_billing))
    volume = _NO_VOLUME if production.outputs_per_month is None else Decimal(production.outputs_per_month)
    monthly = _product(held, volume)
    why = "the incumbent's capacity, held for the declared days"
    if incumbent.hosting is not None and incumbent.hosting.commitment is not None and not isinstance(monthly, Missing):
        monthly = incumbent.hosting.commitment.beyond(monthly)
        why = f"{why}, without what its commitment buys: that is paid on anyway"
    return migration, _line("dual running", _product(monthly, _product(days, 1 / DAYS_PER_MONTH)), "estimated", why)


def _declared(told: float | None, what: str) -> Number:
    return Missing(f"{what} is not declared") if told is None else Decimal(str(told))


def _spread(once: Line, production: Production) -> Line:
    """A cost that comes once, over the outputs of the declared months."""
    if isinstance(once.usd, Missing) or once.usd == 0:
        return once
    if production.outputs_per_month is None:
        return _line(once.name, _NO_VOLUME, "missing")
    usd = once.usd / (Decimal(production.outputs_per_month) * production.months)
    return Line(once.name, usd, once.basis, f"{once.usd.normalize():f} USD over {production.months} months")


def _committed(parts: Parts, production: Production) -> Number:
    if parts.hosting is None or parts.hosting.commitment is None:
        return _NOTHING
    if production.outputs_per_month is None:
        return _NO_VOLUME
    return parts.hosting.commitment.usd_per_month / production.outputs_per_month


def _committed_share(parts: Parts, production: Production, on_demand: Number) -> Number:
    if parts.hosting is None or parts.hosting.commitment is None:
        return _NOTHING
    if production.outputs_per_month is None:
        return _NO_VOLUME
    if isinstance(on_demand, Missing) or not on_demand:
        return on_demand
    monthly = on_demand * production.outputs_per_month
    return 1 - parts.hosting.commitment.beyond(monthly) / monthly


def _product(one: Number, other: Number) -> Number:
    if isinstance(one, Missing):
        return one
    return other if isinstance(other, Missing) else one * other
