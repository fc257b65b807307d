"""An embedded agent that answers as Consul does, for machines that have no Consul."""

from weft.registry.agent.agent import Agent

__all__ = ["Agent"]
