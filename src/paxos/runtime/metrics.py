"""A node's metrics in Prometheus's text format, made from the snapshot that `/state` shows.

Every number in a role's `status()` becomes a gauge `paxos_<role>_<name>`, so a new status field is
a new metric and the two can never disagree; what a status says per node has a label `peer`.
Rendered on request: nothing is counted twice and the hot path stays free of it.
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
        for name in ("epoch", "member"):
            yield self._gauge(f"paxos_node_{name}", float(state["membership"][name]), labels)
        if (volume := state.get("volume_bytes")) is not None:
            yield self._gauge("paxos_node_volume_bytes", float(volume), labels)
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
        own = {**state["status"], "upkeep": state.get("upkeep") or {}}
        for name, value in _numbers(own):
            yield self._gauge(f"paxos_{role}_{name}", value, labels)
        for name, by_peer in _by_peer(own):
            family = GaugeMetricFamily(
                f"paxos_{role}_{name}", _help(f"paxos_{role}_{name}"), labels=["node", "peer"]
            )
            for peer, number in by_peer.items():
                family.add_metric([labels["node"], peer], float(number))
            yield family

    def _gauge(self, name: str, value: float, labels: dict[str, str]) -> GaugeMetricFamily:
        gauge = GaugeMetricFamily(name, _help(name), labels=list(labels))
        gauge.add_metric(list(labels.values()), value)
        return gauge


def _help(name: str) -> str:
    return f"See docs/operating.md: {name}."


def _numbers(status: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number in a status, nested names joined; lists give their size."""
    for name, value in status.items():
        if isinstance(value, bool | int | float):
            yield f"{prefix}{name}", float(value)
        elif isinstance(value, list):
            yield f"{prefix}{name}_count", float(len(value))
        elif isinstance(value, Mapping) and not _is_by_node(value):
            yield from _numbers(value, f"{prefix}{name}_")


def _by_peer(
    status: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Yield every mapping from nodes to numbers in a status, nested names joined."""
    for name, value in status.items():
        if not isinstance(value, Mapping):
            continue
        if not _is_by_node(value):
            yield from _by_peer(value, f"{prefix}{name}_")
        elif all(isinstance(number, int | float) for number in value.values()):
            yield f"{prefix}{name}", value


def _is_by_node(value: Mapping[str, Any]) -> bool:
    """Tell whether a mapping's keys are nodes, which belong into a label, not into a name."""
    return any("-" in key for key in value)


def render(state: Mapping[str, Any]) -> bytes:
    """Return the metrics of a node's state in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(state))
    return generate_latest(registry)
