"""What the control plane tells Prometheus. Labels are bounded: types, data planes, one current version of each."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from weft.control.build import Snapshots
from weft.control.resources import TYPE_URLS, DataPlane, short_type

__all__ = ["Metrics"]


class Metrics:
    """The metrics of one control plane, in a registry of their own: a process may run several."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        by_stream = ("data_plane",)
        by_type = ("data_plane", "type")
        self.streams = Gauge("weft_control_streams", "Open ADS streams", by_stream, registry=registry)
        self.refused_streams = Counter(
            "weft_control_refused_streams", "ADS streams refused or ended by us", ("code",), registry=registry
        )
        self.pushes = Counter("weft_control_pushes", "Responses sent", by_type, registry=registry)
        self.nacks = Counter(
            "weft_control_nacks", "Responses a client refused; the log says why", by_type, registry=registry
        )
        self.build_s = Histogram(
            "weft_control_build_seconds",
            "Time to build and check the snapshots after a change",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
            registry=registry,
        )
        self.snapshots = Counter("weft_control_snapshots", "Snapshots published", registry=registry)
        self.refused_snapshots = Counter(
            "weft_control_refused_snapshots",
            "Snapshots not published: something in them names what does not exist",
            registry=registry,
        )
        self.version = Gauge(
            "weft_control_snapshot_info",
            "1 for the content version being served; replicas agree",
            (*by_type, "version"),
            registry=registry,
        )
        self.ready = Gauge("weft_control_ready", "1 once a snapshot has been published", registry=registry)
        self.held_services = Gauge(
            "weft_control_held_services",
            "Services whose last endpoints are kept although the registry names none",
            registry=registry,
        )
        self.registry_stale_s = Gauge(
            "weft_control_registry_stale_seconds",
            "Time since which the registry does not answer; 0 while it does",
            registry=registry,
        )
        self.failed_reloads = Counter(
            "weft_control_failed_reloads", "Changed contracts or keys that could not be used", registry=registry
        )
        for data_plane in DataPlane:
            for type_url in TYPE_URLS:  # a series that is there from the beginning can be alerted on
                self.nacks.labels(data_plane.value, short_type(type_url))

    def watch_staleness(self, stale_s: Callable[[], float]) -> None:
        """Ask *stale_s* for the age of what the registry said, whenever somebody reads the metrics."""
        self.registry_stale_s.set_function(stale_s)

    def published(self, snapshots: Snapshots) -> None:
        """Show the versions of *snapshots*, and no longer those before."""
        self.snapshots.inc()
        self.ready.set(1)
        self.version.clear()
        for data_plane, snapshot in snapshots.items():
            for type_url, version in snapshot.versions.items():
                self.version.labels(data_plane.value, short_type(type_url), version).set(1)
