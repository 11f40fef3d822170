from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hiredis
import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, InMemoryHistory

from paxos.apps import client_shell
from paxos.apps.client_completion import CommandCompleter, history

CLIENT = Path(__file__).parents[2] / "client" / "client_cli.py"

CLOSE = b""
"""A door's answer that is none: it closes the connection."""

SILENCE = None
"""A door's answer that never comes."""


class FakeDoor:
    """A RESP door that answers each command as the test says, and remembers what it was sent."""

    def __init__(self, answer: Callable[[list[bytes]], bytes | None]) -> None:
        self.commands: list[list[bytes]] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        reader = hiredis.Reader()
        with connection:
            while received := self._receive(connection):
                reader.feed(received)
                while (command := reader.gets()) is not False:
                    self.commands.append(command)
                    answer = self._answer(command)
                    if answer == CLOSE:
                        return
                    if answer is not SILENCE:
                        connection.sendall(answer)

    @staticmethod
    def _receive(connection: socket.socket) -> bytes:
        try:
            return connection.recv(65536)
        except OSError:
            return b""

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join()


STATUS = {
    "node": "client-1",
    "ready": True,
    "leader": "proposer-3",
    "ballot": 1203,
    "quorum": {"needed": 2, "of": 3, "voting": ["acceptor-1"], "abstaining": {}},
    "writes": 12345,
    "write_ms": {"p50": 1.234, "p99": 10.0},
    "door": 6001,
}


def usual(command: list[bytes]) -> bytes | None:
    """Answer as a gateway does."""
    status = json.dumps(STATUS).encode()
    return {
        b"WRITE": b":17\r\n",
        b"READ": b"*2\r\n*2\r\n:1\r\n$4\r\nol\xc3\xa1\r\n*2\r\n:17\r\n$3\r\na\nb\r\n",
        b"RESPONSES": b"*1\r\n*5\r\n:17\r\n:3\r\n:2\r\n:1\r\n:861\r\n",
        b"STATUS": b"$%d\r\n%b\r\n" % (len(status), status),
        b"AUTH": b"+OK\r\n",
        b"READONLY": b"+OK\r\n",
        b"SET": b"+OK\r\n",
        b"GET": b"$2\r\n\xff\n\r\n",
        b"MGET": b"*2\r\n$1\r\n1\r\n$-1\r\n",
    }.get(command[0].upper(), b"-ERR unknown command\r\n")


@pytest.fixture
def open_door() -> Iterator[Callable[..., FakeDoor]]:
    doors: list[FakeDoor] = []

    def open_one(answer: Callable[[list[bytes]], bytes | None] = usual) -> FakeDoor:
        doors.append(FakeDoor(answer))
        return doors[-1]

    yield open_one
    for door in doors:
        door.close()


@pytest.fixture
def door(open_door: Callable[..., FakeDoor], monkeypatch: pytest.MonkeyPatch) -> FakeDoor:
    monkeypatch.delenv(client_shell.PASSWORD_VARIABLE, raising=False)
    return open_door()


def run(door: FakeDoor, *words: str) -> int:
    return client_shell.main(["localhost", str(door.port), *words])


# ---------------------------------------------------------------- what is sent


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["write", "novo valor"], [b"WRITE", b"novo valor"]),
        (["WRITE", ""], [b"WRITE", b""]),
        (["write", "-5"], [b"WRITE", b"-5"]),
        (["write", "--", "--json"], [b"WRITE", b"--json"]),
        (["read"], [b"READ"]),
        (["read", "--limit", "5", "--from=7"], [b"READ", b"FROM", b"7", b"LIMIT", b"5"]),
        (["responses", "3"], [b"RESPONSES", b"3"]),
        (["status", "--json"], [b"STATUS"]),
        (["--timeout", "3", "set", "k", "v"], [b"set", b"k", b"v"]),
        (["set", "k", "--", "--json"], [b"set", b"k", b"--json"]),
        (["set", "k", "--px"], [b"set", b"k", b"--px"]),
        (["write", os.fsdecode(b"\xff\xfe")], [b"WRITE", b"\xff\xfe"]),
    ],
)
def test_what_was_typed_becomes_a_command(door, words, sent):
    assert run(door, *words) == 0
    assert door.commands == [sent]


def test_a_stale_read_asks_for_it_on_a_connection_of_its_own(door):
    assert run(door, "read", "--stale") == 0
    assert door.commands == [[b"READONLY"], [b"READ"]]


def test_a_password_comes_from_the_environment(door, monkeypatch):
    monkeypatch.setenv(client_shell.PASSWORD_VARIABLE, "segredo")

    assert run(door, "status") == 0
    assert door.commands == [[b"AUTH", b"segredo"], [b"STATUS"]]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "a host and a port are needed"),
        (["localhost"], "a host and a port are needed"),
        (["localhost", "http", "read"], "'http' is not a port"),
        (["localhost", "70000", "read"], "'70000' is not a port"),
        (["localhost", "1", "write"], "write needs a value"),
        (["localhost", "1", "write", "a", "b"], 'did you mean: write "a b" ?'),
        (["localhost", "1", "write", "--force", "x"], "write has no option --force"),
        (["localhost", "1", "write", "x", "--stale"], "only reads can"),
        (["localhost", "1", "read", "all"], "read takes no 'all'"),
        (["localhost", "1", "read", "--limit", "0"], "--limit must be a whole number from 1"),
        (["localhost", "1", "read", "--from"], "--from must be a whole number"),
        (["localhost", "1", "status", "--timeout", "soon"], "--timeout must be seconds"),
        (["localhost", "1", "status", "--timeout", "nan"], "--timeout must be seconds"),
    ],
)
def test_wrong_usage_is_status_2_and_says_what_would_be_right(words, complaint, capsys):
    assert client_shell.main(words) == 2
    assert complaint in capsys.readouterr().err


def test_help_is_on_standard_output(capsys):
    assert client_shell.main(["--help"]) == 0
    assert "write VALUE" in capsys.readouterr().out


# ---------------------------------------------------------------- what is shown


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["write", "x"], "chosen in slot 17\n"),
        (["read"], "1\tolá\n17\ta\\nb\n"),
        (["responses"], "17\t3\t2\t1\t861\n"),
        (["set", "k", "v"], "OK\n"),
        (["mget", "a", "b"], "1\n\n"),
    ],
)
def test_answers_are_plain_lines_when_nobody_watches(door, capsys, words, output):
    assert run(door, *words) == 0
    assert capsys.readouterr().out == output


def test_status_is_told_in_words(door, capsys):
    assert run(door, "status") == 0
    facts = dict(re.split(r"\s{2,}", line) for line in capsys.readouterr().out.splitlines())

    assert facts["leader"] == "proposer-3"
    assert facts["ballot"] == "1203"
    assert facts["writes"] == "12,345"
    assert facts["quorum: needed"] == "2"
    assert facts["write latency"] == "p50 1.23 ms, p99 10 ms"


@pytest.mark.parametrize(
    ("words", "content"),
    [
        (["write", "x"], {"slot": 17}),
        (["read"], {"values": [{"slot": 1, "value": "olá"}, {"slot": 17, "value": "a\nb"}]}),
        (
            ["responses"],
            {
                "responses": [
                    {"slot": 17, "revision": 3, "sequence": 2, "commands": 1, "age_ms": 861}
                ]
            },
        ),
        (["status"], STATUS),
        (["get", "k"], {"reply": {"base64": "/wo="}}),
        (["mget", "a", "b"], {"reply": ["1", None]}),
    ],
)
def test_json_holds_the_answer_and_its_time(door, capsys, words, content):
    assert run(door, *words, "--json") == 0
    answer = json.loads(capsys.readouterr().out)

    assert answer.pop("ms") >= 0
    assert answer == content


def test_an_answer_that_makes_no_sense_is_an_error(open_door, capsys):
    door = open_door(lambda command: b"+what\r\n")

    assert run(door, "write", "x") == 1
    assert "unexpected answer: what" in capsys.readouterr().err


# ---------------------------------------------------------------- what fails, and how surely


@pytest.mark.parametrize(
    ("words", "answer", "status", "complaint"),
    [
        (["write", "x"], b"-UNAVAILABLE 1 of 3 acceptors answers\r\n", 1, "error: UNAVAILABLE"),
        (["write", "x"], b"-UNKNOWN no answer from a quorum\r\n", 3, "unknown outcome: UNKNOWN"),
        (["set", "k"], b"-ERR wrong number of arguments\r\n", 1, "error: ERR wrong number"),
        (["write", "x"], CLOSE, 3, "unknown outcome: connection lost"),
        (["set", "k", "v"], CLOSE, 3, "unknown outcome: connection lost"),
        (["read"], CLOSE, 1, "error: connection lost"),
        (["get", "k"], CLOSE, 1, "error: connection lost"),
        (["write", "x"], SILENCE, 3, "unknown outcome: no answer in time"),
        (["status"], SILENCE, 1, "error: no answer in time"),
        (["write", "x"], b"HTTP/1.1 400 Bad Request\r\n", 3, "unknown outcome: connection lost"),
    ],
)
def test_the_status_tells_definite_from_unknown(
    open_door, capsys, words, answer, status, complaint
):
    door = open_door(lambda command: answer)

    assert run(door, "--timeout", "0.3", *words) == status
    assert capsys.readouterr().err.startswith(complaint)


def test_a_refused_connection_is_a_definite_failure(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    assert client_shell.main(["127.0.0.1", str(port), "write", "x"]) == 1
    assert f"nobody listens at 127.0.0.1:{port}" in capsys.readouterr().err


def test_a_wrong_password_is_a_definite_failure_and_nothing_is_sent_after_it(
    open_door, monkeypatch, capsys
):
    monkeypatch.setenv(client_shell.PASSWORD_VARIABLE, "falsch")
    door = open_door(lambda command: b"-WRONGPASS invalid password\r\n")

    assert run(door, "write", "x") == 1
    assert "WRONGPASS" in capsys.readouterr().err
    assert door.commands == [[b"AUTH", b"falsch"]]


def test_errors_are_json_too(open_door, capsys):
    door = open_door(lambda command: b"-UNKNOWN no quorum\r\n")

    assert run(door, "write", "x", "--json") == 3
    assert json.loads(capsys.readouterr().out) == {
        "error": "UNKNOWN no quorum",
        "outcome": "unknown",
        "exit": 3,
    }


def test_wrong_usage_is_json_too(capsys):
    assert client_shell.main(["localhost", "1", "--json", "write"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["exit"], told["outcome"]) == (2, "usage")
    assert told["error"].startswith("write needs a value")


def test_a_value_that_the_terminal_cannot_show_is_escaped(open_door):
    door = open_door(lambda command: b"*1\r\n*2\r\n:1\r\n$3\r\n\xe2\x82\xac\r\n")
    program = Path(__file__).resolve().parents[2] / "client" / "client_cli.py"
    done = subprocess.run(
        [sys.executable, str(program), "localhost", str(door.port), "read"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "1\t\\u20ac\n", "")


# ---------------------------------------------------------------- many commands


def test_commands_from_a_pipe_run_in_order_and_the_gravest_status_counts(door, monkeypatch, capsys):
    lines = 'write "um valor"\n\nnonsense\nwrite a b\nget "open\nmget a b --json\nquit\nread\n'
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))

    assert run(door) == 1
    output = capsys.readouterr()
    assert [command[0] for command in door.commands] == [b"WRITE", b"nonsense", b"mget"]
    assert output.out.startswith("chosen in slot 17\n")
    assert "unknown command" in output.err
    assert "write takes one value" in output.err
    assert "no closing quotation" in output.err


def test_a_lost_connection_is_opened_again_for_the_next_line(open_door, monkeypatch, capsys):
    door = open_door(lambda command: CLOSE if command[1] == b"one" else b":2\r\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("write one\nwrite two\n"))

    assert run(door) == 3
    assert capsys.readouterr().out == "chosen in slot 2\n"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("wr", ["write"]),
        ("RE", ["read", "responses"]),
        ("read --", ["--limit", "--from", "--stale", "--json", "--timeout"]),
        ("read --limit 3 --f", ["--from"]),
        ("get --s", ["--stale"]),
        ("nothing", []),
    ],
)
def test_commands_and_options_are_completed(typed, offered):
    found = CommandCompleter().get_completions(Document(typed), CompleteEvent())

    assert [one.text for one in found] == offered


def test_history_is_kept_at_home_for_its_owner_alone(tmp_path):
    kept = history(str(tmp_path), ".history")

    assert isinstance(kept, FileHistory)
    assert (tmp_path / ".history").stat().st_mode & 0o777 == 0o600
    assert isinstance(history(None, ".history"), InMemoryHistory)
    assert isinstance(history(str(tmp_path / "absent"), ".history"), InMemoryHistory)


# ---------------------------------------------------------------- the program itself


def _environment(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **more}


def test_the_program_runs_from_anywhere(door, tmp_path):
    done = subprocess.run(
        [sys.executable, CLIENT, "localhost", str(door.port), "write", "novo valor"],
        cwd=tmp_path,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "chosen in slot 17\n", "")
    assert door.commands == [[b"WRITE", b"novo valor"]]


def test_without_an_environment_it_says_how_to_get_one(tmp_path):
    (tmp_path / "client").mkdir()
    copy = shutil.copy(CLIENT, tmp_path / "client" / "client_cli.py")
    done = subprocess.run(
        [sys.executable, copy, "localhost", "6001", "read"],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 2
    assert "./run.sh" in done.stderr


def test_a_reader_that_has_enough_is_no_failure(door):
    program = [sys.executable, str(CLIENT), "localhost", str(door.port), "read"]
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@" | head -n 1', "sh", *program],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.stdout, done.stderr) == ("1\tolá\n", "")


class Terminal:
    """A terminal in which a program runs."""

    def __init__(self, arguments: list[str], **environment: str) -> None:
        self.text = ""
        leader, follower = pty.openpty()
        fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._leader = leader
        self._process = subprocess.Popen(
            arguments,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=_environment(TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1", **environment),
            start_new_session=True,
        )
        os.close(follower)

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def wait_for(self, text: str) -> None:
        """Read until the program has shown a text that was not there before."""
        deadline = time.monotonic() + 10
        while text not in self.text:
            assert select.select([self._leader], [], [], deadline - time.monotonic())[0], self.text
            try:
                self.text += os.read(self._leader, 65536).decode(errors="replace")
            except OSError:
                assert text in self.text, self.text
        self.text = self.text.partition(text)[2]

    def end(self) -> int:
        try:
            return self._process.wait(30)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._leader)


def test_the_shell_answers_with_times_completes_and_remembers(door, tmp_path):
    terminal = Terminal(
        [sys.executable, str(CLIENT), "localhost", str(door.port)], HOME=str(tmp_path)
    )

    def enter(keys: str) -> None:
        # Each prompt begins anew with the door's address.
        terminal.wait_for(f":{door.port}")
        terminal.wait_for(">")
        terminal.type(keys)

    terminal.wait_for("Ctrl-D leaves")
    enter("wri\t")
    terminal.wait_for("te")
    terminal.type(" olá\r")
    terminal.wait_for("chosen in slot 17")
    terminal.wait_for(" ms)")
    enter("help\r")
    terminal.wait_for("exit, Ctrl-D")
    enter("nonsense\r")
    terminal.wait_for("ERR unknown command")
    enter("read\r")
    terminal.wait_for("olá")
    enter("\x04")

    assert terminal.end() == 0
    assert door.commands[0] == [b"WRITE", "olá".encode()]
    assert "+write olá" in (tmp_path / ".paxos_history").read_text(encoding="utf-8")
