"""The control plane: contract and catalog in, xDS out, for Envoy and for gRPC's own clients."""

from weft.control.app import ControlPlane, control_plane
from weft.control.build import Blueprint, Blueprints, Snapshots, build_blueprints
from weft.control.hold_down import HoldDown
from weft.control.inputs import InputsError
from weft.control.publisher import Publisher
from weft.control.resources import DataPlane, Resource, Snapshot, inconsistencies, version_of
from weft.control.settings import Settings, read_settings
from weft.control.stream import ProtocolError, Stream
from weft.control.subscription import Rejection, Response

__all__ = [
    "Blueprint",
    "Blueprints",
    "ControlPlane",
    "DataPlane",
    "HoldDown",
    "InputsError",
    "ProtocolError",
    "Publisher",
    "Rejection",
    "Resource",
    "Response",
    "Settings",
    "Snapshot",
    "Snapshots",
    "Stream",
    "build_blueprints",
    "control_plane",
    "inconsistencies",
    "read_settings",
    "version_of",
]
