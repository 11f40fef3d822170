"""Is the node in this container alive? Exit 0 when its /healthz answers 200, else 1.

Alive, not ready: Swarm gives a task its name in DNS only once it is healthy, and a node that waits
for its peers (an acceptor at the founding waits for all the others) must be found by them first.
So nothing here may ever ask for /readyz.

It runs every few seconds beside the node, so it is run with `python3 -I -S` and imports one small
module: urllib would cost several times as much. HEALTH_PORT is the port of the node's page.
"""

import os
import socket
import sys

TIMEOUT_SECONDS = 8.0
HEAD_BYTES_MAX = 64


def main() -> int:
    port = int(os.environ.get("HEALTH_PORT", "8000"))
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
            connection.sendall(
                b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            head = b""
            while b"\r\n" not in head and len(head) < HEAD_BYTES_MAX:
                piece = connection.recv(HEAD_BYTES_MAX)
                if not piece:
                    break
                head += piece
    except OSError as error:
        print(f"/healthz on port {port}: {error}")
        return 1
    status_line = head.split(b"\r\n", 1)[0].decode("latin-1")
    print(f"/healthz on port {port}: {status_line}")
    return 0 if status_line.startswith("HTTP/") and status_line.split(" ")[1:2] == ["200"] else 1


if __name__ == "__main__":
    sys.exit(main())
