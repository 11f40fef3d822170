"""A node's metrics in Prometheus's text format, made from the snapshot that `/state` shows.

Every number in a role's `status()` becomes a gauge `paxos_<role>_<name>`, so a new status field is
a new metric and the two can never disagree. Rendered on request: nothing is counted twice and the
hot path stays free of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily


class _Snapshot:
    """A collector over one state, as prometheus_client asks for it."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = state

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield one gauge per number."""
        state = self._state
        labels = {"node": str(state["node"])}
        for name in ("healthy", "ready", "uptime_s", "memory_bytes"):
            yield self._gauge(f"paxos_node_{name}", float(state[name]), labels)
        runtime = state.get("runtime", {})
        for name, value in runtime.items():
            yield self._gauge(f"paxos_node_{name}", float(value), labels)
        up = GaugeMetricFamily(
            "paxos_link_up", "Whether the link to a peer stands.", labels=["node", "peer"]
        )
        for link in state["links"]:
            up.add_metric([labels["node"], link["peer"]], float(link["connected"]))
        yield up
        role = str(state["role"])
        for name, value in _numbers(state["status"]):
            yield self._gauge(f"paxos_{role}_{name}", value, labels)

    def _gauge(self, name: str, value: float, labels: dict[str, str]) -> GaugeMetricFamily:
        gauge = GaugeMetricFamily(name, f"See docs/operating.md: {name}.", labels=list(labels))
        gauge.add_metric(list(labels.values()), value)
        return gauge


def _numbers(status: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number in a status, nested names joined; lists and mappings give their size."""
    for name, value in status.items():
        if isinstance(value, bool | int | float):
            yield f"{prefix}{name}", float(value)
        elif isinstance(value, list):
            yield f"{prefix}{name}_count", float(len(value))
        elif isinstance(value, Mapping) and value and all(isinstance(k, str) for k in value):
            yield from _numbers(value, f"{prefix}{name}_".replace("-", "_"))


def render(state: Mapping[str, Any]) -> bytes:
    """Return the metrics of a node's state in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(state))
    return generate_latest(registry)
