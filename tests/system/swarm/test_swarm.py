"""The product on a real Docker Swarm: what `./run.sh --swarm` promises, with kills and volumes.

One stack serves the whole module, and the tests run in the order of the file: the last ones
replace and remove it. Where no engine answers, one is installed and started (ensure_docker.sh);
where images cannot be pulled, a base is made (make_base_image.sh). When that fails the tests fail:
a machine that cannot run them has not shown that the stack works.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# The first start builds images; a kill waits for Swarm. Far above what either takes.
pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("swarm")]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
STACK = "paxos"
DOORS = (6001, 6002)
PAGES = {
    "discovery": 8000,
    "proposer-1": 8001,
    "proposer-2": 8002,
    "proposer-3": 8003,
    "acceptor-1": 8004,
    "acceptor-2": 8005,
    "acceptor-3": 8006,
    "learner-1": 8007,
    "learner-2": 8008,
    "client-1": 8009,
    "client-2": 8010,
}
USUAL_BASE_IMAGE = "python:3.11-slim-bookworm"
OWN_BASE_IMAGE = "paxos-base:bookworm"
START_SECONDS_MAX = 900
REPLACED_SECONDS_MAX = 120
# Far above what a failover takes, so that a busy machine fails no test; far below "hangs for ever".
WRITE_SECONDS_MAX = 45.0
READ_LIMIT = 1_000_000

# Every value of this run begins with it, so that other values in the list disturb nothing.
RUN = f"swarm-{uuid.uuid4().hex[:8]}"


# ---- tools ---------------------------------------------------------------------------------------


def run(*command: str, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def must(*command: str, timeout: float = 60, **environment: str) -> str:
    """The command's output; a failure shows everything that it said."""
    done = run(*command, timeout=timeout, **environment)
    if done.returncode != 0:
        pytest.fail(
            f"{' '.join(command)} ended with {done.returncode}\n"
            f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}",
            pytrace=False,
        )
    return done.stdout


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            tasks = run("docker", "stack", "ps", STACK, "--no-trunc").stdout
            pytest.fail(f"not within {seconds:.0f} s: {what}\n{tasks}", pytrace=False)
        time.sleep(0.3)


def page(service: str, path: str) -> tuple[int, str, str]:
    """Status, content type and text; 0 when nobody answers."""
    try:
        address = f"http://localhost:{PAGES[service]}{path}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get_content_type(), error.read().decode()
    except OSError:
        return 0, "", ""


def is_ready(service: str) -> bool:
    return page(service, "/readyz")[0] == 200


def command_line(port: int, *arguments: str) -> str:
    return must("./client/client_cli.py", "localhost", str(port), *arguments, timeout=120)


def values_read(port: int) -> list[str]:
    """This run's values in the cluster's list, in the list's order."""
    answer = json.loads(command_line(port, "read", "--limit", str(READ_LIMIT), "--json"))
    return [row["value"] for row in answer["values"] if str(row["value"]).startswith(RUN)]


def containers(service: str, *filters: str) -> list[str]:
    wanted = [f"label=com.docker.swarm.service.name={STACK}_{service}", *filters]
    arguments = [part for one in wanted for part in ("--filter", one)]
    return must("docker", "ps", "--quiet", "--no-trunc", *arguments).split()


def leader_service() -> str:
    """The leader as a client node sees it."""
    status = json.loads(command_line(DOORS[0], "status", "--json"))
    leader = status["leader"]
    number = re.search(r"\d+", json.dumps(leader))
    assert number is not None, f"status names no leader: {status}"
    return f"proposer-{number.group()}"


def kill_container(service: str) -> None:
    """Kills the service's container and waits until Swarm has put a ready one in its place."""
    (before,) = containers(service)
    must("docker", "kill", before)

    def is_replaced() -> bool:
        now = containers(service, "health=healthy")
        return bool(now) and before not in now and is_ready(service)

    wait_until(is_replaced, f"{service} is back and ready", REPLACED_SECONDS_MAX)


class Writer:
    """Writes values one after another through the doors and remembers what was confirmed.

    The Redis client retries nothing by itself: an error that the cluster lets through is seen here.
    With `moves_on`, a connection that is lost is no error and the write goes to the other door: for
    tests that take a door itself away. Such a value may then stand in the list twice. An answer
    that says UNKNOWN or UNAVAILABLE is then no error either, but kept in `told`.
    """

    def __init__(self, label: str, *, moves_on: bool = False) -> None:
        self.confirmed: list[str] = []
        self.errors: list[str] = []
        self.told: list[str] = []
        self.slowest_seconds = 0.0
        self._label = label
        self._moves_on = moves_on
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name=f"writer-{label}")

    def __enter__(self) -> Writer:
        self._thread.start()
        self.wait_for_more(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(WRITE_SECONDS_MAX * 2)
        assert not self._thread.is_alive(), "a write never came back"

    def wait_for_more(self, count: int) -> None:
        """Writes go on: `count` more are confirmed, or something went wrong."""
        wanted = len(self.confirmed) + count
        wait_until(
            lambda: len(self.confirmed) >= wanted or bool(self.errors),
            f"{count} more writes are confirmed",
            WRITE_SECONDS_MAX * 2,
        )

    def _write_all(self) -> None:
        door = 0
        number = 0
        connection = self._connect(DOORS[door])
        while not self._stop.is_set():
            value = f"{RUN}-{self._label}-{number}"
            started = time.monotonic()
            while True:
                try:
                    connection.execute_command("WRITE", value)
                except redis.exceptions.ConnectionError as error:
                    if not self._moves_on or time.monotonic() - started > WRITE_SECONDS_MAX:
                        self.errors.append(f"{value}: {type(error).__name__}: {error}")
                        return
                    connection.close()
                    door = (door + 1) % len(DOORS)
                    connection = self._connect(DOORS[door])
                    time.sleep(0.1)
                    continue
                except redis.ResponseError as error:
                    told = str(error)
                    if not self._moves_on or not told.startswith(("UNKNOWN ", "UNAVAILABLE ")):
                        self.errors.append(f"{value}: {told}")
                        return
                    self.told.append(f"{value}: {told}")
                    break
                except redis.RedisError as error:
                    self.errors.append(f"{value}: {type(error).__name__}: {error}")
                    return
                else:
                    self.confirmed.append(value)
                    break
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - started)
            number += 1
        connection.close()

    @staticmethod
    def _connect(port: int) -> redis.Redis:
        return redis.Redis(
            host="localhost",
            port=port,
            socket_timeout=WRITE_SECONDS_MAX,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )


# ---- the machine and the stack -------------------------------------------------------------------


@pytest.fixture(scope="module")
def base_image() -> str:
    """A base for the image that this machine can have; the tests fail when it can have none."""
    must(str(HERE / "ensure_docker.sh"), timeout=600)
    if told := os.environ.get("PAXOS_BASE_IMAGE"):
        return told
    if run("docker", "image", "inspect", USUAL_BASE_IMAGE).returncode == 0:
        return USUAL_BASE_IMAGE
    if run("docker", "pull", "--quiet", USUAL_BASE_IMAGE, timeout=300).returncode == 0:
        return USUAL_BASE_IMAGE
    must(str(HERE / "make_base_image.sh"), OWN_BASE_IMAGE, timeout=900)
    return OWN_BASE_IMAGE


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where run.sh keeps its notes meanwhile, so that ./data of a local cluster is left alone."""
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def start(base_image: str, own_folder: str) -> Callable[..., str]:
    """`./run.sh --swarm`, as often as a test needs it."""

    def start_stack(**environment: str) -> str:
        environment |= {"PAXOS_BASE_IMAGE": base_image, "PAXOS_DATA": own_folder}
        return must("./run.sh", "--swarm", timeout=START_SECONDS_MAX, **environment)

    return start_stack


@pytest.fixture(scope="module", autouse=True)
def stack(start: Callable[..., str], own_folder: str) -> Iterator[None]:
    """The stack runs while this module's tests run, and nothing of it is left afterwards."""
    mine = ("--filter", f"label=com.docker.stack.namespace={STACK}")
    if must("docker", "volume", "ls", "--quiet", *mine).split():
        pytest.fail(
            "the data of a stack is here, and would be deleted: scripts/swarm.sh reset --yes"
        )
    try:
        start()
        yield
    finally:
        must("./run.sh", "reset", "--yes", timeout=300, PAXOS_DATA=own_folder)
    assert not must("docker", "volume", "ls", "--quiet", *mine).split(), "reset left data behind"


# ---- tests ---------------------------------------------------------------------------------------


def test_one_service_per_node_when_the_stack_is_up() -> None:
    names = must(
        "docker", "stack", "services", STACK, "--format", "{{.Name}} {{.Replicas}}"
    ).splitlines()
    assert sorted(names) == sorted(f"{STACK}_{service} 1/1" for service in PAGES)


def test_no_node_falls_over_when_the_stack_starts() -> None:
    """For the first seconds no name is in DNS: nodes must wait for one another, not end.

    A task that ended stays in Swarm's history, with the reason.
    """
    tasks = must("docker", "stack", "ps", STACK, "--no-trunc", "--format", "{{.Name}} {{.Error}}")
    # A container that the engine itself could not start has run nothing that could fall over.
    ran = [task for task in tasks.splitlines() if "starting container failed" not in task]
    assert sorted(ran) == sorted(f"{STACK}_{service}.1 " for service in PAGES)


@pytest.mark.parametrize("service", PAGES)
def test_pages_answer_when_the_stack_is_up(service: str) -> None:
    wait_until(lambda: is_ready(service), f"{service} is ready", 60)
    status, kind, text = page(service, "/view-logs")
    assert (status, kind) == (200, "text/html")
    assert "<" in text
    status, kind, text = page(service, "/state")
    assert (status, kind) == (200, "application/json")
    json.loads(text)
    status, _, text = page(service, "/logs")
    assert status == 200
    assert [json.loads(line) for line in text.splitlines()] != [], "one JSON value per line"
    assert page(service, "/healthz")[0] == 200
    status, _, text = page(service, "/metrics")
    assert status == 200
    assert "# TYPE" in text


@pytest.mark.parametrize("service", PAGES)
def test_container_has_no_more_rights_than_it_needs(service: str) -> None:
    (container,) = containers(service)
    (facts,) = json.loads(must("docker", "inspect", container))
    assert facts["Config"]["User"] == "10001:10001"
    assert facts["HostConfig"]["ReadonlyRootfs"] is True
    assert facts["HostConfig"]["CapDrop"] == ["ALL"]
    assert not [
        variable for variable in facts["Config"]["Env"] if variable.startswith("PAXOS_SECRET=")
    ]


def test_value_written_through_one_door_when_read_through_the_other() -> None:
    slot = json.loads(command_line(6001, "write", "novo valor", "--json"))["slot"]
    values = json.loads(command_line(6002, "read", "--json"))["values"]
    assert {"slot": slot, "value": "novo valor"} in values
    assert "novo valor" in command_line(6002, "read")
    responses = json.loads(command_line(6001, "responses", "--json"))["responses"]
    assert slot in [row["slot"] for row in responses]
    assert "leader" in command_line(6001, "status").lower()


@pytest.mark.parametrize("victim", ["leader", "learner-1", "acceptor-2", "learner-2"])
def test_no_client_sees_an_error_when_a_container_is_killed(victim: str) -> None:
    service = leader_service() if victim == "leader" else victim
    with Writer(f"kill-{victim}") as writer:
        kill_container(service)
        writer.wait_for_more(20)
    assert writer.errors == []
    assert writer.slowest_seconds < WRITE_SECONDS_MAX
    for port in DOORS:
        mine = [value for value in values_read(port) if f"-kill-{victim}-" in value]
        assert mine == writer.confirmed, "each confirmed write is there once, in its order"


def test_another_proposer_leads_when_the_leader_is_killed() -> None:
    before = leader_service()
    (container,) = containers(before)
    must("docker", "kill", container)
    wait_until(lambda: leader_service() != before, "another proposer leads", REPLACED_SECONDS_MAX)
    command_line(6001, "write", f"{RUN}-after-failover")
    assert f"{RUN}-after-failover" in values_read(6002)
    wait_until(lambda: is_ready(before), f"{before} is back", REPLACED_SECONDS_MAX)


def test_writes_go_on_when_an_acceptor_is_replaced() -> None:
    """Its volume is moved aside; it counts again, as another one, when it holds what was chosen."""
    before = json.loads(page("acceptor-2", "/state")[2])["node"]
    with Writer("replace") as writer:
        must("scripts/swarm.sh", "replace", "acceptor-2", timeout=START_SECONDS_MAX)
        writer.wait_for_more(20)
    assert writer.errors == []
    state = json.loads(page("acceptor-2", "/state")[2])
    assert (state["ready"], state["membership"]["member"]) == (True, True)
    assert state["node"] != before
    assert state["node"].startswith("acceptor-2.")
    for port in DOORS:
        mine = [value for value in values_read(port) if "-replace-" in value]
        assert mine == writer.confirmed, "each confirmed write is there once, in its order"


def test_writes_go_on_when_the_stack_is_updated(start: Callable[..., str]) -> None:
    """Every service gets another memory limit, so every container is replaced: one at a time."""
    before = {service: containers(service) for service in PAGES}
    with Writer("update", moves_on=True) as writer:
        start(PAXOS_MEMORY_LIMIT="900M")
        writer.wait_for_more(20)
    assert writer.errors == []
    # Containers that come and go as fast as the engine can may cost an honest answer or two.
    assert len(writer.told) <= 3, writer.told
    assert [service for service in PAGES if containers(service) == before[service]] == []
    assert set(writer.confirmed) <= set(values_read(6002))


def test_every_value_is_back_when_the_stack_was_removed(start: Callable[..., str]) -> None:
    """The README's way to stop, `docker stack rm paxos`, and at once the README's way to start."""
    command_line(6001, "write", f"{RUN}-before-removal")
    before = values_read(6002)
    assert f"{RUN}-before-removal" in before
    must("docker", "stack", "rm", STACK)
    start()
    for port in DOORS:
        assert values_read(port) == before
    command_line(6002, "write", f"{RUN}-after-removal")
    assert values_read(6001) == [*before, f"{RUN}-after-removal"]
