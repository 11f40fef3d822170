"""What the READMEs and docs/ say is so: their commands are run, their tables and names compared.

The commands are run in the order of the README, on a real local cluster, with these substitutions
and no others, so that a test disturbs nothing that runs on this machine:

- every port is moved by OFFSET, and data and configuration are the test's own;
- `./run.sh` is `./run.sh --local`, and `./run.sh reset` is answered with "y";
- `./monitor.sh`, which ends at a key, is `./monitor.sh --once`;
- `git clone` and `cd` (tests/house/test_fresh_clone.py) and `./test.sh` (this is it) are not run;
- what needs a Docker engine is run by tests/system/swarm.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from paxos.apps.config_keys import KEYS, shown
from paxos.core import messages
from paxos.doors.resp_commands import ALL_COMMANDS
from paxos.runtime import metrics
from paxos.sim.world import World

ROOT = Path(__file__).resolve().parents[2]
READMES = ("README.md", "README.pt-BR.md")
DOCUMENTS = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in READMES)])
OFFSET = 15680
"""Where no test that may run at the same time has a port: of two clusters that start together on
the same ports, one's pages answer for the other's nodes. Below what Linux gives to connections."""
PORT = re.compile(r"\b(600[12]|80(?:0\d|10))\b")

SEED = (
    "git clone <> paxos-system",
    "cd paxos-system",
    "chmod +x run.sh",
    "chmod +x run.sh monitor.sh test-scenario.sh client/client_cli.py",
    "./run.sh",
    './client/client_cli.py localhost 6001 write "novo valor"',
    "./client/client_cli.py localhost 6001 read",
    "./client/client_cli.py localhost 6001 responses",
    "./client/client_cli.py localhost 6001 status",
    "chmod +x monitor.sh",
    "./monitor.sh",
    "chmod +x test-scenario.sh",
    "./test-scenario.sh",
    "docker stack rm paxos",
)
"""What the project promised to its first users, word for word; it must never go away."""

PAGES = tuple(f"http://localhost:{port}/view-logs" for port in range(8000, 8011))
ELSEWHERE = ("git clone <> paxos-system", "cd paxos-system", "./test.sh")
IN_SWARM = ("./run.sh --swarm", "docker stack rm paxos")
INSTEAD = {"./run.sh": "./run.sh --local", "./monitor.sh": "./monitor.sh --once"}
LONG = (
    "./test-scenario.sh",
    ".venv/bin/paxos bench --seconds 2",
    ".venv/bin/paxos simulate --seeds 20",
    ".venv/bin/paxos modelcheck --quick",
    ".venv/bin/paxos chaos --seconds 10",
)
"""What ./test.sh leaves to .ci/run, which runs all commands; their own tests are in ./test.sh."""

EXPECTED = {
    "./run.sh": "The cluster is ready.",
    './client/client_cli.py localhost 6001 write "novo valor"': "chosen in slot ",
    "./client/client_cli.py localhost 6001 read": "novo valor",
    "./client/client_cli.py localhost 6002 read": "novo valor",
    "./client/client_cli.py localhost 6001 responses": "\t",
    "./client/client_cli.py localhost 6001 status": "leader",
    "./monitor.sh": "11/11 up",
    "./test-scenario.sh": "checks passed",
    "redis-cli -p 6002 GET greeting": "olá",
    "redis-cli -p 6002 READ": "another value",
    ".venv/bin/paxos member replace acceptor-2": "acceptor-2.1 is a member",
    ".venv/bin/paxos member list": "acceptor-2.1",
    ".venv/bin/paxos start acceptor 2": "acceptor-2 is ready",
    "./run.sh stop": "",
    "./run.sh reset": "deleted",
}
"""What some commands must print, besides ending with 0."""


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(name), re.MULTILINE | re.DOTALL)


def commands(name: str) -> list[str]:
    """Every command in a README, in order. What a reader has to fill in is shown as <>."""
    lines = "".join(blocks(name, "bash")).splitlines()
    return [re.sub(r"<[^>]+>", "<>", line) for line in lines if line and not line.startswith("#")]


def moved(text: str) -> str:
    """Move every port of the default cluster by OFFSET."""
    return PORT.sub(lambda match: str(int(match.group()) + OFFSET), text)


class Shell:
    """Runs a README's commands from the repository, on ports and data of the test's own."""

    def __init__(self, folder: Path) -> None:
        (folder / "paxos.toml").touch()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PAXOS_")}
        self.environment = kept | {
            "PAXOS_CONFIG": str(folder / "paxos.toml"),
            "PAXOS_DATA": str(folder / "data"),
            "PAXOS_NETWORK_PORT_OFFSET": str(OFFSET),
        }

    def run(self, *words: str, answer: str = "") -> str:
        """Run one command. Returns what it printed on standard output; fails when it fails."""
        done = subprocess.run(
            words,
            cwd=ROOT,
            env=self.environment,
            input=answer,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{words} ended with {done.returncode}\n{done}"
        return done.stdout


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    yield made
    made.run(".venv/bin/paxos", "reset", "--yes")


# ------------------------------------------------------------ the READMEs


def test_both_readmes_hold_the_same_commands() -> None:
    english, portuguese = map(commands, READMES)
    assert english == portuguese

    def code(name: str) -> str:
        return re.sub(r"  #.*", "", "".join(blocks(name, "python")))

    assert code(READMES[0]) == code(READMES[1])


@pytest.mark.parametrize("name", READMES)
def test_what_was_promised_first_is_still_there(name: str) -> None:
    remaining = iter(commands(name))
    assert [command for command in SEED if command not in commands(name)] == []
    assert all(command in remaining for command in SEED[:5])
    assert [page for page in PAGES if page not in text_of(name)] == []


@pytest.mark.xdist_group("system")
@pytest.mark.parametrize(
    "left_out", [pytest.param(LONG, id="short"), pytest.param((), id="all", marks=pytest.mark.slow)]
)
def test_every_command_of_the_readme_works(shell: Shell, left_out: tuple[str, ...]) -> None:
    assert set(left_out) <= set(commands(READMES[0]))
    told = set()
    for command in commands(READMES[0]):
        if command in (*ELSEWHERE, *IN_SWARM, *left_out):
            continue
        words = shlex.split(moved(INSTEAD.get(command, command)))
        output = shell.run(*words, answer="y\n" if command == "./run.sh reset" else "")
        assert EXPECTED.get(command, "") in output, command
        told.add(command)
        if command == "./monitor.sh":
            for page in PAGES:
                with urllib.request.urlopen(moved(page), timeout=10) as answer:
                    assert answer.status == 200
            for block in blocks(READMES[0], "python"):
                shell.run(sys.executable, "-c", moved(block))
    assert set(EXPECTED) - set(left_out) <= told


def test_swarm_commands_are_run_by_the_swarm_tests() -> None:
    swarm = "".join(path.read_text() for path in (ROOT / "tests" / "system" / "swarm").glob("*.py"))
    assert 'must("./run.sh", "--swarm"' in swarm
    assert 'must("docker", "stack", "rm", STACK' in swarm
    assert set(IN_SWARM) <= set(commands(READMES[0]))


# ------------------------------------------------------------ docs/: names and links


def test_every_test_that_a_document_names_exists() -> None:
    sources = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in (ROOT / "tests").rglob("*.py")
    }
    files = {Path(path).stem for path in sources}
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for path, test in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
            assert path in sources, f"{document.name}: {path}"
            assert not test or f"def {test}(" in sources[path], f"{document.name}: {path}::{test}"
        for script in re.findall(r"`(tests/[\w/]+/[\w-]+\.txt)`", text):
            assert (ROOT / script).is_file(), f"{document.name}: {script}"
        for test in set(re.findall(r"\btest_\w+\b", text)) - files:
            found = any(f"def {test}(" in source for source in sources.values())
            assert found, f"{document.name}: {test}"


def test_every_file_and_heading_that_a_document_links_to_exists() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)]+)\)", document.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            path, _, heading = target.partition("#")
            file = document.parent / path if path else document
            assert file.exists(), f"{document.name}: {target}"
            if heading:
                titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
                anchors = [
                    re.sub(r"[^\w -]", "", t).strip().lower().replace(" ", "-") for t in titles
                ]
                assert heading in anchors, f"{document.name}: {target}"


def test_every_source_file_that_a_document_names_exists() -> None:
    missing = [
        f"{document.name}: {name}"
        for document in DOCUMENTS
        for name in re.findall(r"`((?:\w+/)+\w+\.(?:py|yml|toml))`", document.read_text("utf-8"))
        if not (ROOT / name).exists() and not (ROOT / "src" / "paxos" / name).exists()
    ]
    assert missing == []


def test_every_invariant_that_safety_names_is_enforced() -> None:
    """docs/safety.md quotes what `invariant(...)` says when it does not hold."""
    quoted = {" ".join(one.split()) for one in re.findall(r'"([^"]+)"', text_of("docs/safety.md"))}
    checked = set()
    for path in (ROOT / "src" / "paxos").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "invariant":
                sentence = node.args[1]
                assert isinstance(sentence, ast.Constant), f"{path.name}:{node.lineno}"
                checked.add(sentence.value)
    assert len(checked) > 20
    assert quoted == checked


# ------------------------------------------------------------ docs/: tables


def rows(name: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    section = text_of(name).split(f"\n{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None
    lines = table.group().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_configuration_table_is_that_of_the_code() -> None:
    documented = {
        row[0].strip("`"): row[1:] for row in rows("docs/operating.md", "## Configuration")
    }
    wanted = {}
    for key in KEYS:
        default = "not set" if key.default is None else f"`{shown(key.default)}`"
        words = {"bool": "true, false", "choice": ", ".join(key.choices)}
        good = words.get(key.kind, key.kind)
        if key.kind == "int":
            good = f"{key.low} to {key.high}"
        wanted[key.path] = [default, good, " ".join(key.meaning.split())]
    assert documented == wanted


def test_message_table_names_every_message_and_who_receives_it() -> None:
    unions = {
        "proposer": messages.ProposerMessage,
        "acceptor": messages.AcceptorMessage,
        "learner": messages.LearnerMessage,
        "gateway": messages.GatewayMessage,
        "discovery": messages.DiscoveryMessage,
    }
    receivers: dict[str, set[str]] = {"Book": {"any node"}}
    for role, union in unions.items():
        for one in get_args(union) or (union,):
            receivers.setdefault(one.__name__, set()).add(role)
    documented = {
        row[0].strip("`"): set(row[2].split(", "))
        for row in rows("docs/protocol.md", "## Messages")
    }
    assert documented == receivers


def test_the_world_of_the_testing_document_runs() -> None:
    (block,) = blocks("docs/testing.md", "python")
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\[\d+\]\n", done.stdout)


def state_of(world: World, node: Any) -> dict[str, Any]:
    """What a node's `/state` holds, as far as metrics look at it."""
    status = msgspec.to_builtins(world.role(node).status())
    role = "client" if node.startswith("client") else node.partition("-")[0]
    if role == "client":
        status |= {"connections": 0, "door": 6001}
    common = {"healthy": True, "ready": True, "uptime_s": 1.0, "memory_bytes": 1}
    runtime = {"runtime": {"messages_dropped": 0}, "links": []}
    membership = {"membership": {"epoch": 0, "member": True}}
    return {"node": node, "role": role, "status": status, **common, **runtime, **membership}


def test_metrics_table_names_every_metric() -> None:
    world = World(1)
    world.start()
    assert world.run_until(lambda: world.leader is not None)
    rendered = b"".join(
        metrics.render(state_of(world, node)) for node in world.membership.nodes
    ).decode()
    names = set(re.findall(r"^# TYPE (\w+) gauge$", rendered, re.MULTILINE))
    documented = [row[0].strip("`") for row in rows("docs/operating.md", "## Metrics")]
    assert sorted(documented) == sorted(names)


def test_command_table_names_every_command() -> None:
    cells = " ".join(row[1] for row in rows("docs/operating.md", "## Commands"))
    named = {word for word in re.findall(r"`([A-Z]+)", cells)}
    assert named == {name.decode() for name in ALL_COMMANDS}
