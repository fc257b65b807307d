"""Calls to peers through the mesh."""

from weft.client.channel import PeerChannel
from weft.client.errors import PeerError
from weft.client.peers import Peers, use_control_plane

__all__ = ["PeerChannel", "PeerError", "Peers", "use_control_plane"]
