"""Contracts read into plain values."""

from weft.contract.model import (
    Access,
    Contract,
    FieldRules,
    Format,
    HttpRule,
    Method,
    Outlier,
    RateLimit,
    Retry,
    Service,
    ServicePolicy,
)
from weft.contract.read import ContractError, load_image, read_contract

__all__ = [
    "Access",
    "Contract",
    "ContractError",
    "FieldRules",
    "Format",
    "HttpRule",
    "Method",
    "Outlier",
    "RateLimit",
    "Retry",
    "Service",
    "ServicePolicy",
    "load_image",
    "read_contract",
]
