"""Every system that can be measured, by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .base import Cluster
from .etcd import EtcdCluster
from .paxos import PaxosCluster
from .pysyncobj import PySyncObjCluster, TunedPySyncObjCluster
from .zookeeper import ZooKeeperCluster

CLUSTERS: dict[str, Callable[[Path], Cluster]] = {
    "paxos": PaxosCluster,
    "etcd": EtcdCluster,
    "zookeeper": ZooKeeperCluster,
    "pysyncobj": PySyncObjCluster,
    "pysyncobj-tuned": TunedPySyncObjCluster,
}
