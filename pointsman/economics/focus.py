"""Charges as a FOCUS 1.2 file, the form in which FinOps tools take in costs, checked against its schema."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from itertools import islice

from pointsman.economics.charges import Charge, Month
from pointsman.economics.entries import USD, counted_in_time, moment
from pointsman.economics.exact import EXACT
from pointsman.economics.focus_schema import COLUMNS, focus_faults
from pointsman.errors import DataCheckFailed
from pointsman.ids import VariantId

OWN = ("x_Basis", "x_Part", "x_Purpose", "x_RunId")
_ACCOUNT = "pointsman"
_SERVICES = {
    "compute": ("Compute", "Other (Compute)"),
    "storage": ("Storage", "Object Storage"),
    "delivery": ("Networking", "Content Delivery"),
    "network": ("Networking", "Network Infrastructure"),
}
_GENERATIVE = ("AI and Machine Learning", "Generative AI")
_UNITS = {"gb": "GB", "gib": "GiB", "mb": "MB", "tb": "TB", "cpu": "CPU", "gpu": "GPU", "vcpu": "vCPU"}
_TIMES = ("Second", "Minute", "Hour", "Day", "Month", "Year")
_SHOWN = 5


def focus_csv(charges: Iterable[Charge], month: Month) -> str:
    """A CSV with all 57 columns of FOCUS 1.2 and `OWN`; a row per charge. An empty field is null.

    Raises `DataCheckFailed`, naming rows and rules, rather than give out a file that is not FOCUS 1.2.
    """
    columns = [*(column.name for column in COLUMNS), *OWN]
    rows = [_row(charge, month) for charge in charges]
    faults = list(islice(focus_faults(columns, rows), _SHOWN))
    if faults:
        raise DataCheckFailed(f"The charges make no FOCUS 1.2 file: {'; '.join(faults)}.", faults=faults)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(charge: Charge, month: Month) -> dict[str, str]:
    """List, contracted, billed and effective cost are one: what discounts there are is the invoice's to say."""
    entry = charge.entry
    own_unit = charge.sku.rsplit(":", 1)[-1]
    foreign = entry.foreign
    category, subcategory = _service(charge)
    day = datetime.combine(charge.day, time(), UTC)
    cost = format(charge.usd, "f")
    return {
        **dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost),
        **dict.fromkeys(("ListUnitPrice", "ContractedUnitPrice"), format(entry.usd, "f")),
        **dict.fromkeys(
            ("PricingCurrencyListUnitPrice", "PricingCurrencyContractedUnitPrice"),
            format(entry.usd if foreign is None else foreign.amount, "f"),
        ),
        "PricingCurrencyEffectiveCost": cost if foreign is None else format(charge.usd / foreign.rate, "f"),
        "PricingCurrency": USD if foreign is None else foreign.currency,
        "PricingCategory": "Dynamic" if entry.tier == "spot" else "Standard",
        "PricingQuantity": _number(charge.quantity / entry.factor),
        "PricingUnit": focus_unit(entry.unit),
        "ConsumedQuantity": _number(charge.quantity),
        "ConsumedUnit": focus_unit(own_unit),
        "BillingAccountId": _ACCOUNT,
        "BillingAccountName": "Pointsman",
        "BillingAccountType": "Workspace",
        "BillingCurrency": USD,
        "BillingPeriodStart": _time(month.start),
        "BillingPeriodEnd": _time(month.end),
        "ChargePeriodStart": _time(day),
        "ChargePeriodEnd": _time(day + timedelta(days=1)),
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ChargeDescription": f"{charge.sku}, {charge.part}, of {charge.purpose} {charge.run_id}",
        **dict.fromkeys(("ProviderName", "PublisherName", "InvoiceIssuerName", "ServiceName"), charge.provider),
        "ServiceCategory": category,
        "ServiceSubcategory": subcategory,
        "ResourceId": charge.resource,
        **_resource(charge),
        "SkuId": charge.sku,
        "SkuMeter": own_unit,
        "SkuPriceId": f"{charge.sku}@{moment(entry.valid_from)}",
        "SkuPriceDetails": _details(charge),
        "Tags": _map({"pointsman:run": charge.run_id, "pointsman:purpose": charge.purpose}),
        "x_Basis": charge.basis,
        "x_Part": charge.part,
        "x_Purpose": charge.purpose,
        "x_RunId": charge.run_id,
    }


def _resource(charge: Charge) -> dict[str, str]:
    if charge.resource == charge.run_id:
        kind = "Evaluation set" if charge.purpose == "judging" else "Benchmark"
        return {"ResourceName": charge.resource, "ResourceType": kind}
    return {"ResourceName": VariantId.parse(charge.resource).label, "ResourceType": "Variant"}


def _service(charge: Charge) -> tuple[str, str]:
    found = _SERVICES.get(charge.entry.modality or "")
    if found is not None:
        return found
    return _SERVICES["compute"] if counted_in_time(charge.sku) else _GENERATIVE


def _details(charge: Charge) -> str:
    """FOCUS prescribes the names of some properties; others begin with x_, as columns do."""
    entry = charge.entry
    told = {"x_Modality": entry.modality, "x_Resolution": entry.resolution, "x_Tier": entry.tier}
    known = {name: value for name, value in told.items() if value is not None}
    return _map(known) if known else ""


def focus_unit(unit: str) -> str:
    """A unit as FOCUS would have it: `GB`, `Videos`, `vCPU-Seconds`, `1000000 Input Tokens`.

    Source: the attribute "Unit Format" of the specification.
    """
    words = re.split(r"[-_./]", unit)
    count = "1000000 " if words[0] == "million" and len(words) > 1 else ""
    *base, last = words[1:] if count else words
    time = last.title() in _TIMES
    named = [_UNITS.get(word.lower(), word.title()) for word in (*base, last)]
    if named[-1] not in _UNITS.values():
        named[-1] += "s"
    return count + ("-".join([" ".join(named[:-1]), named[-1]]) if time and base else " ".join(named))


def _number(quantity: Decimal) -> str:
    return format(EXACT.normalize(quantity), "f")


def _map(told: dict[str, str]) -> str:
    return json.dumps(told, sort_keys=True)


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
