"""FOCUS 1.2 as a schema: its 57 columns, what each may hold, and the rules between them, to check a file against.

Source: FinOps Open Cost and Usage Specification 1.2, https://focus.finops.org/focus-specification/v1-2/. Names, types
and nullability are those of model 1.2.0.1 of the FinOps Foundation's focus-validator. Columns of one's own begin with
`x_`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

Row = Mapping[str, str]
"""A row of a CSV file: an empty text is null."""

_DECIMAL = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?\Z")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z\Z")
_CURRENCY = re.compile(r"[A-Z]{3}\Z")
_ROUNDED = Decimal("1e-9")

SUBCATEGORIES: Mapping[str, tuple[str, ...]] = {
    "AI and Machine Learning": (
        *("AI Platforms", "Bots", "Generative AI", "Machine Learning", "Natural Language Processing"),
    ),
    "Analytics": (
        *("Analytics Platforms", "Business Intelligence", "Data Processing", "Search", "Streaming Analytics"),
    ),
    "Business Applications": ("Productivity and Collaboration",),
    "Compute": ("Containers", "End User Computing", "Quantum Compute", "Serverless Compute", "Virtual Machines"),
    "Databases": (
        *("Caching", "Data Warehouses", "Ledger Databases", "NoSQL Databases", "Relational Databases"),
        "Time Series Databases",
    ),
    "Developer Tools": (
        *("Developer Platforms", "Continuous Integration and Deployment", "Development Environments"),
        *("Source Code Management", "Quality Assurance"),
    ),
    "Identity": ("Identity and Access Management",),
    "Integration": ("API Management", "Messaging", "Workflow Orchestration"),
    "Internet of Things": ("IoT Analytics", "IoT Platforms"),
    "Management and Governance": (
        *("Architecture", "Compliance", "Cost Management", "Data Governance", "Disaster Recovery"),
        *("Endpoint Management", "Observability", "Support"),
    ),
    "Media": ("Content Creation", "Gaming", "Media Streaming", "Mixed Reality"),
    "Migration": ("Data Migration", "Resource Migration"),
    "Mobile": (),
    "Multicloud": ("Multicloud Integration",),
    "Networking": (
        *("Application Networking", "Content Delivery", "Network Connectivity", "Network Infrastructure"),
        *("Network Routing", "Network Security"),
    ),
    "Security": ("Secret Management", "Security Posture Management", "Threat Detection and Response"),
    "Storage": ("Backup Storage", "Block Storage", "File Storage", "Object Storage", "Storage Platforms"),
    "Web": ("Application Platforms",),
    "Other": (),
}
"""Of each service category; besides, each has `Other (<category>)`."""


@dataclass(frozen=True, slots=True)
class Column:
    """`kind` is text, decimal, time, currency or map; `allowed` are all its values where they are prescribed."""

    name: str
    kind: str = "text"
    nullable: bool = True
    allowed: tuple[str, ...] = ()
    negative: bool = True


COLUMNS = (
    Column("AvailabilityZone"),
    Column("BilledCost", "decimal", nullable=False),
    Column("BillingAccountId", nullable=False),
    Column("BillingAccountName"),
    Column("BillingAccountType"),
    Column("BillingCurrency", "currency", nullable=False),
    Column("BillingPeriodEnd", "time", nullable=False),
    Column("BillingPeriodStart", "time", nullable=False),
    Column("CapacityReservationId"),
    Column("CapacityReservationStatus", allowed=("Used", "Unused")),
    Column("ChargeCategory", nullable=False, allowed=("Usage", "Purchase", "Tax", "Credit", "Adjustment")),
    Column("ChargeClass", allowed=("Correction",)),
    Column("ChargeDescription"),
    Column("ChargeFrequency", nullable=False, allowed=("One-Time", "Recurring", "Usage-Based")),
    Column("ChargePeriodEnd", "time", nullable=False),
    Column("ChargePeriodStart", "time", nullable=False),
    Column("CommitmentDiscountCategory", allowed=("Spend", "Usage")),
    Column("CommitmentDiscountId"),
    Column("CommitmentDiscountName"),
    Column("CommitmentDiscountQuantity", "decimal"),
    Column("CommitmentDiscountStatus", allowed=("Used", "Unused")),
    Column("CommitmentDiscountType"),
    Column("CommitmentDiscountUnit"),
    Column("ConsumedQuantity", "decimal"),
    Column("ConsumedUnit"),
    Column("ContractedCost", "decimal", nullable=False),
    Column("ContractedUnitPrice", "decimal", negative=False),
    Column("EffectiveCost", "decimal", nullable=False),
    Column("InvoiceId"),
    Column("InvoiceIssuerName", nullable=False),
    Column("ListCost", "decimal", nullable=False),
    Column("ListUnitPrice", "decimal", negative=False),
    Column("PricingCategory", allowed=("Standard", "Dynamic", "Committed", "Other")),
    Column("PricingCurrency", "currency", nullable=False),
    Column("PricingCurrencyContractedUnitPrice", "decimal", negative=False),
    Column("PricingCurrencyEffectiveCost", "decimal", nullable=False),
    Column("PricingCurrencyListUnitPrice", "decimal", negative=False),
    Column("PricingQuantity", "decimal"),
    Column("PricingUnit"),
    Column("ProviderName", nullable=False),
    Column("PublisherName", nullable=False),
    Column("RegionId"),
    Column("RegionName"),
    Column("ResourceId"),
    Column("ResourceName"),
    Column("ResourceType"),
    Column("ServiceCategory", nullable=False, allowed=tuple(SUBCATEGORIES)),
    Column("ServiceName", nullable=False),
    Column("ServiceSubcategory", nullable=False),
    Column("SkuId"),
    Column("SkuMeter"),
    Column("SkuPriceDetails", "map"),
    Column("SkuPriceId"),
    Column("SubAccountId"),
    Column("SubAccountName"),
    Column("SubAccountType"),
    Column("Tags", "map"),
)

_WHERE_PRICED = (
    *("ListUnitPrice", "ContractedUnitPrice", "PricingQuantity", "PricingUnit", "PricingCategory"),
    *("SkuId", "SkuPriceId"),
)
"""Not null in a usage or a purchase that is no correction; null in a tax."""
_NEEDS = {
    "BillingAccountType": "BillingAccountId",
    "SubAccountName": "SubAccountId",
    "SubAccountType": "SubAccountId",
    "RegionName": "RegionId",
    "ResourceName": "ResourceId",
    "ResourceType": "ResourceId",
    "CapacityReservationStatus": "CapacityReservationId",
    "CommitmentDiscountCategory": "CommitmentDiscountId",
    "CommitmentDiscountName": "CommitmentDiscountId",
    "CommitmentDiscountQuantity": "CommitmentDiscountId",
    "CommitmentDiscountStatus": "CommitmentDiscountId",
    "CommitmentDiscountType": "CommitmentDiscountId",
    "CommitmentDiscountUnit": "CommitmentDiscountQuantity",
    "ConsumedUnit": "ConsumedQuantity",
    "PricingUnit": "PricingQuantity",
    "SkuMeter": "SkuId",
    "SkuPriceDetails": "SkuPriceId",
}
"""Null where the other is null."""
_TOGETHER = (
    "BillingAccountType",
    "RegionName",
    "ResourceType",
    "ConsumedUnit",
    "PricingUnit",
    "CommitmentDiscountType",
)
"""Of these, also not null where the other is not."""


def focus_faults(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """What keeps a file from being FOCUS 1.2, as sentences with the number of the row; nothing when it is."""
    known = {column.name for column in COLUMNS}
    for name in sorted(known - set(columns)):
        yield f"column {name} is missing"
    for name in dict.fromkeys(columns):
        if name not in known and not name.startswith("x_"):
            yield f"column {name} is no column of FOCUS 1.2, and one's own begin with x_"
        elif columns.count(name) > 1:
            yield f"column {name} stands there {columns.count(name)} times"
    for number, row in enumerate(rows, 1):
        for fault in (*_value_faults(row), *_rule_faults(row)):
            yield f"row {number}: {fault}"


def _value_faults(row: Row) -> Iterator[str]:
    for column in COLUMNS:
        value = row.get(column.name, "")
        if value == "":
            if not column.nullable:
                yield f"{column.name} is null"
        elif column.allowed and value not in column.allowed:
            yield f"{column.name} is {value!r}, not one of {', '.join(column.allowed)}"
        elif not _FORMATS[column.kind](value):
            yield f"{column.name} is {value!r}, which is no {column.kind}"
        elif not column.negative and Decimal(value) < 0:
            yield f"{column.name} is {value}, below 0"


def _rule_faults(row: Row) -> Iterator[str]:
    category, corrects = row.get("ChargeCategory", ""), row.get("ChargeClass", "") == "Correction"
    for name, other in _NEEDS.items():
        if _is(row, name) and not _is(row, other):
            yield f"{name} is told where {other} is null"
        if name in _TOGETHER and _is(row, other) and not _is(row, name):
            yield f"{name} is null where {other} is told"
    for name in _WHERE_PRICED:
        if category in ("Usage", "Purchase") and not corrects and not _is(row, name):
            yield f"{name} is null in a charge of category {category}"
        if category == "Tax" and _is(row, name):
            yield f"{name} is told in a tax"
    used = category == "Usage" and row.get("CommitmentDiscountStatus") != "Unused"
    if used and not corrects and not _is(row, "ConsumedQuantity"):
        yield "ConsumedQuantity is null in a usage"
    if not used and _is(row, "ConsumedQuantity"):
        yield "ConsumedQuantity is told where nothing is consumed"
    if category == "Purchase" and row.get("ChargeFrequency") == "Usage-Based":
        yield "ChargeFrequency is Usage-Based in a purchase"
    parent = row.get("ServiceCategory", "")
    if parent in SUBCATEGORIES and row.get("ServiceSubcategory") not in (*SUBCATEGORIES[parent], f"Other ({parent})"):
        yield f"ServiceSubcategory is {row.get('ServiceSubcategory')!r}, which is none of {parent}"
    for period in ("BillingPeriod", "ChargePeriod"):
        start, end = row.get(f"{period}Start", ""), row.get(f"{period}End", "")
        if start and end and start >= end:
            yield f"{period}End is not after {period}Start"
    if not corrects:
        yield from _product_faults(row)


def _product_faults(row: Row) -> Iterator[str]:
    """A cost is its unit price times the quantity that is priced, but for the last digits."""
    for price, cost in (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")):
        told = [row.get(name, "") for name in (price, "PricingQuantity", cost)]
        if not all(_FORMATS["decimal"](one) for one in told):
            continue
        unit, quantity, amount = (Decimal(one) for one in told)
        if abs(unit * quantity - amount) > max(_ROUNDED, abs(amount) * _ROUNDED):
            yield f"{cost} is {amount}, not {price} times PricingQuantity"


def _is(row: Row, name: str) -> bool:
    return row.get(name, "") != ""


def _is_map(value: str) -> bool:
    try:
        found = json.loads(value)
    except ValueError:
        return False
    return isinstance(found, dict) and not any(isinstance(one, (dict, list)) for one in found.values())


_FORMATS: Mapping[str, Callable[[str], bool]] = {
    "text": lambda value: value == value.strip(),
    "decimal": lambda value: _DECIMAL.match(value) is not None,
    "time": lambda value: _TIME.match(value) is not None,
    "currency": lambda value: _CURRENCY.match(value) is not None,
    "map": _is_map,
}
