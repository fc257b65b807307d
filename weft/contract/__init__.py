"""Contracts read into plain values."""

from weft.contract.model import (
    Access,
    Contract,
    Event,
    FieldRules,
    Format,
    HttpRule,
    Method,
    Outlier,
    RateLimit,
    Retry,
    Service,
    ServicePolicy,
    Subscription,
)
from weft.contract.read import ContractError, load_image, read_contract

__all__ = [
    "Access",
    "Contract",
    "ContractError",
    "Event",
    "FieldRules",
    "Format",
    "HttpRule",
    "Method",
    "Outlier",
    "RateLimit",
    "Retry",
    "Service",
    "ServicePolicy",
    "Subscription",
    "load_image",
    "read_contract",
]
