"""Word for word what Debian's redis-server says, asked of it here and now."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import hiredis
import pytest

CONVERSATIONS = [
    b"foo\r\nfoo a b\r\nfoo '%b' c\r\n" % (b"x" * 200),
    b"*2\r\n$3\r\nf\r\n\r\n$5\r\na\r\nbc\r\nPING\r\n",
    b"PING\r\nPING x\r\nPING a b\r\nECHO\r\nECHO 'a\\'b'\r\nECHO \"a\\x41\\n\"\r\n",
    b"SELECT\r\nSELECT 0\r\nSELECT 99\r\nSELECT -1\r\nSELECT x\r\nSELECT 99999999999999999999\r\n",
    b"GET\r\nGET a b\r\nSET a\r\nDEL\r\nMGET\r\nAPPEND a\r\nEXPIRE a\r\nDBSIZE x\r\n",
    b"EXEC\r\nDISCARD\r\nEXEC x\r\nMULTI x\r\nWATCH\r\nUNWATCH x\r\nUNWATCH\r\n",
    b"MULTI\r\nMULTI\r\nWATCH a\r\nSET a 1\r\nPING\r\nECHO x\r\nEXEC\r\nDEL a\r\n",
    b"MULTI\r\nnosuch\r\nSET a 1\r\nEXEC\r\nEXEC\r\n",
    b"MULTI\r\nSET a\r\nEXEC\r\nMULTI\r\nEXEC x\r\nEXEC\r\nMULTI\r\nDISCARD x\r\nEXEC\r\n",
    b"MULTI\r\nEXEC\r\nMULTI\r\nDISCARD\r\nMULTI\r\nUNWATCH\r\nSELECT 0\r\nEXEC\r\n",
    b"WATCH a\r\nSET a 1\r\nMULTI\r\nPING\r\nEXEC\r\nDEL a\r\n",
    b"MULTI\r\nRESET\r\nEXEC\r\nRESET x\r\n",
    b"AUTH\r\nAUTH x\r\nAUTH default x\r\nAUTH foo x\r\nAUTH a b c\r\n",
    b"HELLO x\r\nHELLO 4\r\nHELLO 1\r\nHELLO 2 FOO\r\nHELLO 2 AUTH a\r\nHELLO 2 SETNAME\r\n"
    b"HELLO 2 AUTH foo bar\r\nHELLO 2 SETNAME 'a b'\r\n",
    b"CLIENT\r\nCLIENT FOO\r\nCLIENT SETNAME\r\nCLIENT SETNAME 'a b'\r\nCLIENT SETNAME x\r\n"
    b"CLIENT GETNAME\r\nCLIENT ID x\r\nCLIENT NO-EVICT x\r\nCLIENT NO-EVICT on\r\nRESET\r\n"
    b"CLIENT GETNAME\r\n",
    b"COMMAND FOO\r\nCOMMAND COUNT x\r\nCOMMAND DOCS nosuch\r\nCOMMAND INFO nosuch\r\n",
    b"*0\r\n*-1\r\n\r\nPING\r\n",
    b"PING\r\nQUIT\r\nPING\r\n",
    b"PING\r\n*x\r\nPING\r\n",
    b"*2147483648\r\n",
    b"*1\r\n:5\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$x\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$600000000\r\nabc",
    b'SET "a\r\n',
    b"POST / HTTP/1.1\r\n\r\n",
]


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run Debian's redis-server for this file."""
    assert shutil.which("redis-server"), "redis-server is missing: apt-get install redis-server"
    folder: Path = tmp_path_factory.mktemp("redis")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with subprocess.Popen(
        [
            "redis-server",
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(folder),
            "--logfile",
            str(folder / "log"),
            "--proto-max-bulk-len",
            "8mb",
        ],
    ) as server:
        deadline = time.monotonic() + 20
        while not answers(port):
            assert time.monotonic() < deadline, "redis-server does not answer"
        yield port
        server.terminate()


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(100) == b"+PONG\r\n"
    except OSError:
        return False


def ask(port: int, said: bytes) -> bytes:
    """Return everything that a real server answers until it closes, or falls silent at EOF."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(said + b"ECHO the-end\r\n")
        while not heard.endswith(b"the-end\r\n"):
            try:
                chunk = connection.recv(65536)
            except ConnectionResetError:
                break
            if not chunk:
                break
            heard += chunk
    return heard


@pytest.mark.parametrize("said", CONVERSATIONS)
def test_the_answers_are_those_of_redis(talk, redis_port, said):
    ours, theirs = talk.say(said + b"ECHO the-end\r\n"), ask(redis_port, said)
    assert replies(ours) == replies(theirs)
    assert talk.transport.closing == (not theirs.endswith(b"the-end\r\n"))


def replies(data: bytes) -> list[object]:
    reader = hiredis.Reader(replyError=lambda text: "-" + text)
    reader.feed(data)
    found = []
    while (reply := reader.gets()) is not False:
        found.append(reply)
    return found


def test_command_info_agrees_on_arity_and_keys(talk, redis_port):
    ours = {entry[0]: entry for entry in replies(talk.say(b"COMMAND\r\n"))[0]}
    theirs = {entry[0]: entry for entry in replies(ask(redis_port, b"COMMAND\r\n"))[0]}
    own = {b"write", b"read", b"status", b"responses", b"backup", b"member"}
    assert set(ours) - own <= set(theirs)
    for name in set(ours) - own:
        assert ours[name][1] == theirs[name][1], name
        assert ours[name][3:6] == theirs[name][3:6], name
