"""The real supervisor with stand-in nodes: a page each, and a door with three commands.

Run as a program: `standin_supervisor.py --config FILE`. A file `<data>/<node>.refuses` makes
that node exit with status 78, one `<data>/<node>.crashes` with an exception, and one
`<data>/<node>.unready` keeps it from being ready.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from paxos.apps import config, supervisor
from paxos.core.types import NodeId, Role, role_of


class Quiet(ThreadingHTTPServer):
    """No name lookups, no lingering ports."""

    allow_reuse_address = True
    daemon_threads = True

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)


class Door(socketserver.ThreadingTCPServer):
    """SET, GET and DEL of whole keys, kept in files that every door of the cluster shares."""

    allow_reuse_address = True
    daemon_threads = True
    folder: ClassVar[Path]


class Conversation(socketserver.StreamRequestHandler):
    """One client of a door."""

    def handle(self) -> None:
        while header := self.rfile.readline():
            words = []
            for _ in range(int(header[1:])):
                length = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(length + 2)[:-2])
            self.wfile.write(self.answer(words[0].upper(), words[1:]))

    def answer(self, name: bytes, words: list[bytes]) -> bytes:
        file = Door.folder / words[0].hex()
        if name == b"SET":
            file.write_bytes(words[1])
            return b"+OK\r\n"
        if name == b"GET":
            value = file.read_bytes() if file.exists() else b""
            return b"$%d\r\n%b\r\n" % (len(value), value)
        if name == b"DEL":
            file.unlink(missing_ok=True)
            return b":1\r\n"
        return b"-ERR unknown command\r\n"


def standin_node(configuration: config.Configuration, node: NodeId) -> int:
    """Be a node until SIGTERM."""
    data = configuration.data_folder
    if (data / f"{node}.refuses").exists():
        print("this node refuses", flush=True)
        return supervisor.REFUSED_STATUS
    if (data / f"{node}.crashes").exists():
        raise RuntimeError("this node crashes")
    print(f"{node} begins", flush=True)

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ready = not (data / f"{node}.unready").exists()
            content = {"node": node, "pid": os.getpid(), "ready": ready, "status": {"phase": "up"}}
            content["reason"] = "" if ready else "a test said so"
            body = json.dumps(content).encode()
            self.send_response(503 if self.path == "/readyz" and not ready else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep quiet."""

    host = configuration.network.bind
    servers: list[socketserver.BaseServer] = [Quiet((host, configuration.page_port(node)), Answers)]
    if role_of(node) is Role.CLIENT:
        Door.folder = data
        servers.append(Door((host, configuration.door_port(node)), Conversation))
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.sigwait({signal.SIGTERM})
    print(f"{node} ends {time.monotonic_ns()}", flush=True)
    return 0


def standin_main(configuration: config.Configuration, node: NodeId) -> int:
    """Block SIGTERM before there are threads, so that it waits for sigwait."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    return standin_node(configuration, node)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    sys.exit(supervisor.supervise(config.load(parser.parse_args().config), standin_main))
