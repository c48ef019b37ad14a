"""Prices and money: the dated price book, what each cell cost, the waterfall, the measurements a verdict rests on."""

from pointsman.economics.budget import ensure_month_not_spent, ensure_within_budget, record_matrix_spending
from pointsman.economics.cells import PricedCell, price_cells, price_missing
from pointsman.economics.entries import USD, PriceEntry
from pointsman.economics.experiment import ExperimentCost, experiment_cost, price_load_run
from pointsman.economics.forecast import forecast_load, forecast_together
from pointsman.economics.load import load_cost
from pointsman.economics.measurements import measurements
from pointsman.economics.money import money_document, read_money, record_money, weigh
from pointsman.economics.money_report import money_sections, with_money
from pointsman.economics.price_book import PriceBook, PriceBookSpec, list_prices, register, registered
from pointsman.economics.pricing import margin, per_delivered_view, per_success, total
from pointsman.economics.production import Production
from pointsman.economics.waterfall import Waterfall, waterfalls

__all__ = [
    "USD",
    "ExperimentCost",
    "PriceBook",
    "PriceBookSpec",
    "PriceEntry",
    "PricedCell",
    "Production",
    "Waterfall",
    "ensure_month_not_spent",
    "ensure_within_budget",
    "experiment_cost",
    "forecast_load",
    "forecast_together",
    "list_prices",
    "load_cost",
    "margin",
    "measurements",
    "money_document",
    "money_sections",
    "per_delivered_view",
    "per_success",
    "price_cells",
    "price_load_run",
    "price_missing",
    "read_money",
    "record_matrix_spending",
    "record_money",
    "register",
    "registered",
    "total",
    "waterfalls",
    "weigh",
    "with_money",
]
