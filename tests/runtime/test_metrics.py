from __future__ import annotations

from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from paxos.core.types import NodeId, role_of
from paxos.runtime.metrics import render
from paxos.sim.world import World

COMMON: dict[str, Any] = {
    "node": "acceptor-1",
    "role": "acceptor",
    "healthy": True,
    "ready": False,
    "uptime_s": 12.5,
    "memory_bytes": 1024,
    "links": [
        {"peer": "discovery", "connected": True, "since_s": 1.0},
        {"peer": "learner-1", "connected": False, "since_s": 2.0},
    ],
    "runtime": {"messages_dropped": 7},
    "membership": {"epoch": 3, "member": True},
    "status": {},
}


def samples(state: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Render a state and read it back; (name, peer) -> value."""
    families = text_string_to_metric_families(render(state).decode())
    return {
        (sample.name, sample.labels.get("peer", "")): sample.value
        for family in families
        for sample in family.samples
    }


def test_what_every_node_has_can_be_parsed_when_rendered() -> None:
    """DESIGN: /metrics for programs."""
    assert samples(COMMON) == {
        ("paxos_node_healthy", ""): 1.0,
        ("paxos_node_ready", ""): 0.0,
        ("paxos_node_uptime_s", ""): 12.5,
        ("paxos_node_memory_bytes", ""): 1024.0,
        ("paxos_node_messages_dropped", ""): 7.0,
        ("paxos_node_epoch", ""): 3.0,
        ("paxos_node_member", ""): 1.0,
        ("paxos_link_up", "discovery"): 1.0,
        ("paxos_link_up", "learner-1"): 0.0,
    }


def test_numbers_at_any_depth_become_gauges_when_they_are_in_the_status() -> None:
    """metrics.py: "a new status field is a new metric"."""
    status = {
        "phase": "open",
        "promised": 101,
        "leader": None,
        "voting": ["a", "b"],
        "abstaining": {"acceptor-2": "blank"},
        "write_ms": {"p50": 1.5},
        "caught_up": True,
        "nothing": {},
    }
    found = samples({**COMMON, "status": status})
    own = {name: value for (name, _), value in found.items() if "acceptor" in name}
    assert own == {
        "paxos_acceptor_promised": 101.0,
        "paxos_acceptor_voting_count": 2.0,
        "paxos_acceptor_write_ms_p50": 1.5,
        "paxos_acceptor_caught_up": 1.0,
    }


def test_what_is_told_per_node_gets_a_label_when_it_is_numbers() -> None:
    """A metric's name holds no node's: `acceptor-1` would not even be a good one."""
    status = {
        "keeping": {"base": 120, "behind": False, "kept": {"acceptor-1": 500, "acceptor-2": 120}},
        "abstaining": {"acceptor-2": "blank"},
    }
    found = samples({**COMMON, "status": status})
    assert {key: value for key, value in found.items() if "acceptor" in key[0]} == {
        ("paxos_acceptor_keeping_base", ""): 120.0,
        ("paxos_acceptor_keeping_behind", ""): 0.0,
        ("paxos_acceptor_keeping_kept", "acceptor-1"): 500.0,
        ("paxos_acceptor_keeping_kept", "acceptor-2"): 120.0,
    }


def test_volume_and_upkeep_become_gauges_when_they_are_known() -> None:
    """What is not known is left out, rather than said to be 0."""
    upkeep = {"cuttable_slots": 9, "snapshot_age_s": None, "held_back": True, "text": "why"}
    known = samples({**COMMON, "volume_bytes": 4096, "upkeep": upkeep})
    assert known["paxos_node_volume_bytes", ""] == 4096.0
    own = {name: value for (name, _), value in known.items() if "upkeep" in name}
    assert own == {
        "paxos_acceptor_upkeep_cuttable_slots": 9.0,
        "paxos_acceptor_upkeep_held_back": 1.0,
    }
    unknown = samples({**COMMON, "volume_bytes": None, "upkeep": None})
    assert unknown == samples(COMMON)


@pytest.mark.parametrize("name", ["discovery", "proposer-1", "acceptor-1", "learner-1", "client-1"])
def test_every_roles_real_status_can_be_parsed_when_rendered(name: str) -> None:
    """STYLE 21: metrics read nothing but `status()`."""
    world = World(1)
    world.start()
    assert world.run_until(lambda: world.leader is not None)
    role = role_of(NodeId(name)).value
    status = msgspec.to_builtins(world.role(NodeId(name)).status())
    state = {**COMMON, "node": name, "role": role, "status": status}
    text = render(state).decode()
    families = list(text_string_to_metric_families(text))
    assert all(family.type == "gauge" for family in families)
    assert all(s.labels["node"] == name for family in families for s in family.samples)
    assert any(family.name.startswith(f"paxos_{role}_") for family in families)


def test_a_strange_name_stays_inside_its_label_when_rendered() -> None:
    """Nothing in a label can forge a line."""
    links = [{"peer": 'x"} 1\nforged 2', "connected": True, "since_s": 0}]
    found = samples({**COMMON, "links": links})
    assert found["paxos_link_up", 'x"} 1\nforged 2'] == 1.0
    assert not any(name == "forged" for name, _ in found)
