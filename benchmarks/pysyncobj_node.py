# PySyncObj has no type hints.
# mypy: disable-error-code="import-untyped,import-not-found"
"""One node of a PySyncObj cluster: a replicated dictionary, and a port to be told what to do.

    python -m benchmarks.pysyncobj_node '{"self": "127.0.0.1:1", "others": [...], "control": 2,
                                          "settings": {...}}'

A request is one line of JSON, and so is its answer: {"do": "status"}, or {"do": "load", ...}, whose
answer is what the load measured. A load ends early when its connection is shut down for writing.
"""

from __future__ import annotations

import json
import socketserver
import sys
import threading
from dataclasses import asdict
from typing import Any

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.batteries import ReplDict

from .pysyncobj_driver import Driver


class _Control(socketserver.ThreadingTCPServer):
    """Answers what the harness asks, a thread for each connection."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, node: Any, store: Any) -> None:
        super().__init__(("127.0.0.1", port), _Request)
        self.node = node
        self.store = store


class _Request(socketserver.StreamRequestHandler):
    server: _Control

    def handle(self) -> None:
        """Answer one request."""
        request = json.loads(self.rfile.readline())
        answer = self._status() if request["do"] == "status" else self._load(request)
        self.wfile.write(json.dumps(answer).encode() + b"\n")

    def _status(self) -> dict[str, object]:
        node = self.server.node
        return {
            "leading": bool(node._isLeader()),
            "ready": bool(node.isReady()),
            "peers": sum(bool(node.isNodeConnected(other)) for other in node.otherNodes),
        }

    def _load(self, request: dict[str, Any]) -> dict[str, object]:
        driver = Driver(
            self.server.store,
            request["outstanding"],
            request["value_bytes"],
            request["keys"],
            request["seed"],
        )
        threading.Thread(target=self._stop_at_end_of_input, args=(driver,), daemon=True).start()
        result = driver.run(request["warmup_s"], request["measured_s"], request["fill"])
        return {"operations": 0} if result is None else asdict(result)

    def _stop_at_end_of_input(self, driver: Driver) -> None:
        self.rfile.read()
        driver.stop()


def main() -> int:
    """Be a node until killed."""
    wanted = json.loads(sys.argv[1])
    store = ReplDict()
    conf = SyncObjConf(**wanted["settings"])
    node = SyncObj(wanted["self"], wanted["others"], conf, consumers=[store])
    with _Control(wanted["control"], node, store) as control:
        control.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
