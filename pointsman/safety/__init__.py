"""Who may do what, and how much it may cost: identities, limits, forecasts and approvals."""

from pointsman.safety.acting import who_acts
from pointsman.safety.admission import Admission
from pointsman.safety.approvals import (
    Approval,
    approval_id,
    decide_approval,
    list_approvals,
    read_approval,
    wait_instead,
)
from pointsman.safety.entering import Entrant, enter_production
from pointsman.safety.forecast import Forecast
from pointsman.safety.guards import Guard, Intent, Limits, Refusal, first_refusal, guards
from pointsman.safety.identities import ROLES, Identity, Role, require, unproven
from pointsman.safety.production import SCOPE as PRODUCTION
from pointsman.safety.production import Consent, Permit, ProductionRules
from pointsman.safety.spending import month_of, record_spending, settle_spending, spent_in_month
from pointsman.safety.tokens import Token, create_token, list_tokens, revoke_tokens

__all__ = [
    "PRODUCTION",
    "ROLES",
    "Admission",
    "Approval",
    "Consent",
    "Entrant",
    "Forecast",
    "Guard",
    "Identity",
    "Intent",
    "Limits",
    "Permit",
    "ProductionRules",
    "Refusal",
    "Role",
    "Token",
    "approval_id",
    "create_token",
    "decide_approval",
    "enter_production",
    "first_refusal",
    "guards",
    "list_approvals",
    "list_tokens",
    "month_of",
    "read_approval",
    "record_spending",
    "require",
    "revoke_tokens",
    "settle_spending",
    "spent_in_month",
    "unproven",
    "wait_instead",
    "who_acts",
]
