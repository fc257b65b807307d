"""Sagas: what takes several services either happens as a whole or is undone, whoever dies meanwhile."""

from weft.saga.definition import JSON, PATIENT, Definition, Failure, Progress, Retry, SagaData, Status, Step, StepCall
from weft.saga.runner import Runner, SagaExists, SagaNotFound

__all__ = [
    "JSON",
    "PATIENT",
    "Definition",
    "Failure",
    "Progress",
    "Retry",
    "Runner",
    "SagaData",
    "SagaExists",
    "SagaNotFound",
    "Status",
    "Step",
    "StepCall",
]
