"""The proxy's process as the run sees it: started, told the rules in force, ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from paxos.core.errors import DefiniteError

from .chaos_proxy import Order, Rule, Setting

ANSWER_TIMEOUT_S = 5.0


class ProxyProcess:
    """The process of chaos_proxy.py. It ends with this one at the latest."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._rules: dict[int, list[Rule]] = {}

    @classmethod
    async def start(cls, output: Path) -> ProxyProcess:
        """Start it; what it says of itself is appended to a file."""
        with output.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "paxos.apps.chaos_proxy",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=file,
                # A Ctrl-C for this program is not one for the proxy: the cluster ends first.
                start_new_session=True,
            )
        return cls(process)

    async def listen(self, setting: Setting) -> int:
        """Tell it where the nodes are. Returns its port. Raises DefiniteError."""
        return int(await self._say(msgspec.json.encode(setting)))

    async def lay(self, number: int, rules: Iterable[Rule]) -> None:
        """Put rules in force under a number, beside those of others. Raises DefiniteError."""
        self._rules[number] = list(rules)
        await self._tell()

    async def lift(self, number: int) -> None:
        """Take the rules of a number away. Raises DefiniteError."""
        if self._rules.pop(number, None) is not None:
            await self._tell()

    async def lift_all(self) -> None:
        """Take all rules away. Raises DefiniteError."""
        self._rules.clear()
        await self._tell()

    async def end(self) -> None:
        """End it and wait until it has gone."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _tell(self) -> None:
        everything = [rule for rules in self._rules.values() for rule in rules]
        await self._say(msgspec.json.encode(Order(rules=everything)))

    async def _say(self, line: bytes) -> bytes:
        """Send a line and return the answer. Raises DefiniteError."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise DefiniteError("the proxy has no pipes")
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                stdin.write(line + b"\n")
                await stdin.drain()
                answer = await stdout.readline()
        except (OSError, TimeoutError) as error:
            raise DefiniteError(f"the proxy does not answer: {error!r}") from error
        if not answer:
            raise DefiniteError("the proxy has ended")
        return answer
