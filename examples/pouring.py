"""What words.py does: pours words through `redis-cli --pipe`, breaks nodes, reads all back.

words.py says what this shows and proves; it runs this in the project's own environment.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from paxos.apps import config, local, run_file
from paxos.apps.config import Configuration
from paxos.apps.scenario_cluster import STACK, Cluster, ContainerKiller, ProcessKiller
from paxos.core.errors import ConfigurationError, DefiniteError, PaxosError
from paxos.core.types import NodeId

DONE, FAILED, WRONG_USAGE = 0, 1, 2

PIECE_WORDS = 500
"""So many words are handed to redis-cli at once."""
AHEAD_COMMANDS = 20_000
"""How far redis-cli may be ahead of what the gateway has confirmed: what is in flight when the
leader dies."""
STUCK_S = 60.0
"""Without any progress for so long, the pouring has failed."""
MGET_KEYS = 1000

STOP_ACCEPTOR_AT, KILL_LEADER_AT, START_ACCEPTOR_AT = 0.25, 0.5, 0.75
"""When what is broken, as a share of the commands confirmed."""


class Mismatch(Exception):
    """What was read back is not what was written, or a client saw an error."""


class Breaker(Protocol):
    """Breaks and mends single nodes. Its methods raise DefiniteError when they cannot."""

    def kill(self, node: str) -> None:
        """Kill a node at once; it comes back by itself."""
        ...

    def stop(self, node: str) -> None:
        """Stop a node so that it stays down."""
        ...

    def start(self, node: str) -> None:
        """Start a stopped node again."""
        ...


def main(given: argparse.Namespace) -> int:
    """Find the cluster, pour, break, read back. Returns the exit status.

    `given` is what words.py has read from its command line.
    """
    try:
        if shutil.which("redis-cli") is None:
            raise ConfigurationError("redis-cli is not there: apt-get install redis-tools")
        words = read_words(given.file)
        configuration = config.load(given.config, os.environ)
    except ConfigurationError as error:
        print(f"words.py: {error}", file=sys.stderr)
        return WRONG_USAGE
    try:
        Example(given, configuration, words).run()
    except (PaxosError, redis.RedisError, Mismatch) as error:
        print(f"words.py: FAILED: {error}", file=sys.stderr)
        return FAILED
    return DONE


def read_words(file: Path) -> list[bytes]:
    """Return a file's lines, without empty ones. Raises ConfigurationError when there are none."""
    try:
        words = [word for word in file.read_bytes().split(b"\n") if word]
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read ({error.strerror}): apt-get install wamerican, or name a file"
        ) from error
    if not words:
        raise ConfigurationError(f"{file} holds no words")
    return words


class Example:
    """One run. Its keys and list values begin with a prefix of its own, so runs do not mix."""

    def __init__(
        self, given: argparse.Namespace, configuration: Configuration, words: list[bytes]
    ) -> None:
        self.configuration = configuration
        self.words = words
        self.console = Console(highlight=False, soft_wrap=True)
        self.prefix = b"words-" + uuid.uuid4().hex[:8].encode()
        gateways = configuration.membership().gateways
        self.host = configuration.local_host()
        self.in_port = given.in_port or configuration.door_port(gateways[0])
        self.out_port = given.out_port or configuration.door_port(gateways[-1])
        self.breaker = None if given.no_harm else breaker(configuration, given.mode)
        self.cluster = Cluster(configuration, self.breaker or ContainerKiller())
        self.acceptor = str(configuration.membership().acceptors[-1])

    def run(self) -> None:
        """Pour and read back. Raises Mismatch, RedisError or PaxosError."""
        began = time.monotonic()
        first_slot = int(self.client(self.in_port).execute_command("WRITE", self.prefix))
        with Beats(self) as beats:
            poured_s = self.pour()
            # The others have seen all of it: what is still coming back, too.
            if self.breaker is not None:
                self.wait_until_whole()
        self.say(
            f"{len(self.words):,} words in through {self.in_port} in {poured_s:.1f} s, "
            "no error at redis-cli"
        )
        if beats.errors:
            raise Mismatch(f"other clients saw errors: {'; '.join(beats.errors[:3])}")
        self.say(f"{beats.counted:,} other commands at both doors meanwhile, no error")
        self.check_counters()
        self.check_list(first_slot)
        self.console.print(
            "[green]OK[/green] "
            f"every word is there exactly once, equal to the file "
            f"({time.monotonic() - began:.1f} s); its keys begin with {self.prefix.decode()}:"
        )

    def client(self, port: int) -> redis.Redis:
        """Return a redis-py client that never tries anything twice by itself."""
        return redis.Redis(
            host=self.host,
            port=port,
            password=self.configuration.security.password,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=STUCK_S,
        )

    def say(self, text: str) -> None:
        """Tell a step that is done."""
        self.console.print(f"  [green]✓[/green] {text}")

    # ------------------------------------------------------------ in

    def pour(self) -> float:
        """Feed redis-cli, break things on the way. Returns the seconds it took."""
        began = time.monotonic()
        total = 2 * len(self.words)
        harm = Harm(self.breaker, self.cluster, self.acceptor, total, self.say)
        with self.progress() as progress, harm:
            bar = progress.add_task("in", total=total)
            pipe = Pipe(self)

            def look() -> None:
                progress.update(bar, completed=pipe.look())
                harm.until(pipe.confirmed)

            for piece in self.pieces():
                pipe.feed(piece)
                while pipe.ahead > AHEAD_COMMANDS:
                    look()
            told = pipe.finish(look)
            harm.until(total)
        if told != (total, 0):
            raise Mismatch(f"redis-cli got {told[0]} replies, {told[1]} of them errors")
        return time.monotonic() - began

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Yield RESP commands for a few hundred words, and how many commands they are."""
        for start in range(0, len(self.words), PIECE_WORDS):
            part = self.words[start : start + PIECE_WORDS]
            packed = b"".join(
                packed_command(b"INCR", self.key(word)) + packed_command(b"WRITE", self.key(word))
                for word in part
            )
            yield 2 * len(part), packed

    def key(self, word: bytes) -> bytes:
        """Return a word's key, and its value in the list."""
        return self.prefix + b":" + word

    def wait_until_whole(self) -> None:
        """Wait until every node is ready again. Raises Mismatch when one is not in time."""
        deadline = time.monotonic() + STUCK_S
        while waiting := [n for n, s in self.cluster.states().items() if not s.get("ready")]:
            if time.monotonic() > deadline:
                raise Mismatch(f"not ready again after {STUCK_S:.0f} s: {', '.join(waiting)}")
            time.sleep(0.1)
        self.say("every node is ready again")

    # ------------------------------------------------------------ out

    def check_counters(self) -> None:
        """Read every word's counter. Raises Mismatch unless each is what the file says."""
        wanted = Counter(self.words)
        reading = self.client(self.out_port)
        different = list(wanted)
        with self.progress() as progress:
            bar = progress.add_task("out", total=len(wanted))
            for start in range(0, len(wanted), MGET_KEYS):
                part = different[start : start + MGET_KEYS]
                found = reading.mget([self.key(word) for word in part])
                for word, count in zip(part, found, strict=True):
                    if count is None or int(count) != wanted[word]:
                        raise Mismatch(f"{word!r} was counted {count!r} times")
                progress.update(bar, advance=len(part))
        keys = set(reading.scan_iter(match=self.prefix + b":*", count=5000))
        if keys != {self.key(word) for word in wanted}:
            raise Mismatch(f"{len(keys)} keys, {len(wanted)} different words")
        self.say(f"{len(wanted):,} counters read through {self.out_port}: each as in the file")

    def check_list(self, first_slot: int) -> None:
        """Read the list. Raises Mismatch unless it is the file, word by word."""
        pairs = self.client(self.out_port).execute_command("READ", "FROM", first_slot)
        start = self.prefix + b":"
        found = [value[len(start) :] for _, value in pairs if value.startswith(start)]
        if found != self.words:
            same = sum(1 for one, two in zip(found, self.words, strict=False) if one == two)
            raise Mismatch(f"the list has {len(found)} words, {same} of them where they should be")
        self.say(f"{len(found):,} entries of the list read through {self.out_port}: the file")

    def progress(self) -> Progress:
        """Return a progress bar, which is silent where nobody would see it move."""
        return Progress(
            TextColumn("  {task.description:>3}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )


def packed_command(*words: bytes) -> bytes:
    """Return a command as RESP, which takes any byte."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


class Pipe:
    """A `redis-cli --pipe`, and how much of what it was fed its gateway has confirmed."""

    def __init__(self, example: Example) -> None:
        command = [
            "redis-cli",
            "-h",
            example.host,
            "-p",
            str(example.in_port),
            "--pipe",
            "--pipe-timeout",
            str(int(STUCK_S)),
        ]
        password = example.configuration.security.password
        secret = {} if password is None else {"REDISCLI_AUTH": password}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | secret,
        )
        self._in: IO[bytes] = self._process.stdin  # type: ignore[assignment]  # it is a PIPE
        self._out: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        self.fed = 0
        self.confirmed = 0
        self._status = example.client(example.in_port)
        self._before = self._writes()
        self._moved_at = time.monotonic()

    def feed(self, piece: tuple[int, bytes]) -> None:
        """Hand commands to redis-cli."""
        count, packed = piece
        try:
            self._in.write(packed)
        except BrokenPipeError as error:
            raise Mismatch(f"redis-cli ended: {self._out.read().decode()}") from error
        self.fed += count

    @property
    def ahead(self) -> int:
        """How many commands are on their way."""
        return self.fed - self.confirmed

    def look(self) -> int:
        """Return how many commands are confirmed by now. Raises Mismatch when none comes any more.

        Other clients' writes count as well, so this may be a little ahead of the truth.
        """
        confirmed = self._writes() - self._before
        now = time.monotonic()
        if confirmed != self.confirmed:
            self.confirmed, self._moved_at = confirmed, now
        elif now - self._moved_at > STUCK_S:
            raise Mismatch(f"nothing was confirmed for {STUCK_S:.0f} s")
        return confirmed

    def finish(self, look: Callable[[], None]) -> tuple[int, int]:
        """Wait until redis-cli has all its answers. Returns how many, and how many errors."""
        closing = threading.Thread(target=self._in.close)
        closing.start()
        while self._process.poll() is None:
            look()
        closing.join()
        told = self._out.read().decode()
        self._out.close()
        for line in told.splitlines():
            if line.startswith("errors: "):
                errors, replies = (int(part.split()[-1]) for part in line.split(","))
                return replies, errors
        raise Mismatch(f"redis-cli: {told}")

    def _writes(self) -> int:
        return int(json.loads(self._status.execute_command("STATUS"))["writes"])


class Beats:
    """Other clients, one at each door: each counts, and reads its count at the other door."""

    def __init__(self, example: Example) -> None:
        self.errors: list[str] = []
        self.counted = 0
        self._example = example
        self._stopping = threading.Event()
        ports = (example.in_port, example.out_port)
        self._threads = [
            threading.Thread(target=self._beat, args=pair) for pair in (ports, ports[::-1])
        ]

    def __enter__(self) -> Beats:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _beat(self, port: int, other: int) -> None:
        writing, reading = self._example.client(port), self._example.client(other)
        key = b"%b-beat:%d" % (self._example.prefix, port)
        count = 0
        try:
            while not self._stopping.wait(0.002):
                count += 1
                if (found := writing.incr(key)) != count:
                    self.errors.append(f"{count} counted at {port} and {found} answered")
                if (found := int(reading.get(key) or 0)) != count:
                    self.errors.append(f"{count} counted at {port} and {found} read at {other}")
                self.counted += 2
        except redis.RedisError as error:
            self.errors.append(f"port {port}: {error}")


# ---------------------------------------------------------------- breaking


class Harm:
    """What is broken when, told in numbers of confirmed commands. A context manager: the acceptor
    that it has stopped is started again however the pouring ends.
    """

    def __init__(
        self,
        breaker: Breaker | None,
        cluster: Cluster,
        acceptor: str,
        total: int,
        say: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._acceptor = acceptor
        self._say = say
        self._breaker = breaker
        self._stopped = False
        self._steps: list[tuple[float, Callable[[Breaker], str]]] = [
            (STOP_ACCEPTOR_AT * total, self._stop_acceptor),
            (KILL_LEADER_AT * total, self._kill_leader),
            (START_ACCEPTOR_AT * total, self._start_acceptor),
        ]

    def __enter__(self) -> Harm:
        return self

    def __exit__(self, *_: object) -> None:
        if self._breaker is not None and self._stopped:
            self._breaker.start(self._acceptor)

    def until(self, confirmed: int) -> None:
        """Do what is due at this number. Raises DefiniteError or Mismatch when it cannot be."""
        while self._breaker is not None and self._steps and self._steps[0][0] <= confirmed:
            self._say(self._steps.pop(0)[1](self._breaker))

    def _stop_acceptor(self, breaker: Breaker) -> str:
        self._stopped = True
        breaker.stop(self._acceptor)
        return f"{self._acceptor} is stopped"

    def _kill_leader(self, breaker: Breaker) -> str:
        found = self._cluster.leader()
        if found is None:
            raise Mismatch("no proposer leads")
        breaker.kill(found[0])
        return f"{found[0]}, the leader with ballot {found[1]}, is killed with SIGKILL"

    def _start_acceptor(self, breaker: Breaker) -> str:
        breaker.start(self._acceptor)
        self._stopped = False
        return f"{self._acceptor} is started again"


def breaker(configuration: Configuration, mode: str | None) -> Breaker:
    """Return what kills, stops and starts nodes of this cluster. Raises DefiniteError."""
    run = run_file.read(configuration.data_folder)
    mode = mode or (run.mode if run is not None else None)
    if mode is None:
        raise DefiniteError(
            f"nothing in {configuration.data_folder} says how the cluster runs: start it with "
            "./run.sh, name --mode, or break nothing with --no-harm"
        )
    return SwarmBreaker() if mode == "swarm" else LocalBreaker(configuration)


class LocalBreaker:
    """Signals local processes; their supervisor starts a killed one again by itself."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self.kill = ProcessKiller(configuration).kill

    def stop(self, node: str) -> None:
        """Stop a node so that it stays down."""
        local.hold(self._configuration, NodeId(node))

    def start(self, node: str) -> None:
        """Start it again."""
        local.release(self._configuration, NodeId(node))


class SwarmBreaker:
    """Kills containers, which Swarm replaces; stops a node by scaling its service to none."""

    def __init__(self) -> None:
        self.kill = ContainerKiller().kill

    def stop(self, node: str) -> None:
        """Scale to none."""
        self._scale(node, 0)

    def start(self, node: str) -> None:
        """Scale to one again."""
        self._scale(node, 1)

    def _scale(self, node: str, replicas: int) -> None:
        command = ["docker", "service", "scale", "--detach", f"{STACK}_{node}={replicas}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DefiniteError(f"{' '.join(command)}: {done.stderr.strip()}")
