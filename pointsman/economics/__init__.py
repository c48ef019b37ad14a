"""Prices and money: the dated price book, what each cell cost, the waterfall, the measurements a verdict rests on."""

from pointsman.economics.aws_billing import billing_client
from pointsman.economics.aws_prices import refreshed
from pointsman.economics.budget import ensure_month_not_spent, hold_spending, record_matrix_spending
from pointsman.economics.cells import PricedCell, price_cells, price_missing
from pointsman.economics.charges import Charge, Month, Uncharged, charges_of
from pointsman.economics.entries import USD, PriceEntry, moment
from pointsman.economics.experiment import ExperimentCost, experiment_cost, price_load_run
from pointsman.economics.focus import focus_csv
from pointsman.economics.forecast import forecast_load, forecast_together
from pointsman.economics.invoice import cost_explorer_lines, read_invoice
from pointsman.economics.load import load_cost
from pointsman.economics.measurements import measurements
from pointsman.economics.money import money_document, read_money, record_money, weigh
from pointsman.economics.money_report import money_sections, with_money
from pointsman.economics.price_book import PriceBook, PriceBookSpec, list_prices, register, registered
from pointsman.economics.price_file_text import price_file_text
from pointsman.economics.pricing import margin, per_delivered_view, per_success, total
from pointsman.economics.production import Production
from pointsman.economics.reconciliation import Reconciliation, reconcile
from pointsman.economics.waterfall import Waterfall, waterfalls

__all__ = [
    "USD",
    "Charge",
    "ExperimentCost",
    "Month",
    "PriceBook",
    "PriceBookSpec",
    "PriceEntry",
    "PricedCell",
    "Production",
    "Reconciliation",
    "Uncharged",
    "Waterfall",
    "billing_client",
    "charges_of",
    "cost_explorer_lines",
    "ensure_month_not_spent",
    "experiment_cost",
    "focus_csv",
    "forecast_load",
    "forecast_together",
    "hold_spending",
    "list_prices",
    "load_cost",
    "margin",
    "measurements",
    "moment",
    "money_document",
    "money_sections",
    "per_delivered_view",
    "per_success",
    "price_cells",
    "price_file_text",
    "price_load_run",
    "price_missing",
    "read_invoice",
    "read_money",
    "reconcile",
    "record_matrix_spending",
    "record_money",
    "refreshed",
    "register",
    "registered",
    "total",
    "waterfalls",
    "weigh",
    "with_money",
]
