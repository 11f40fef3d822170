"""Every reply stands where its command stood, however deliveries are split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.core.errors import InvariantViolation
from paxos.doors.resp_replies import ReplyQueue


@given(
    st.lists(st.sampled_from(["gateway", "own", "late", "transform", "absorb"]), max_size=30),
    st.lists(st.integers(min_value=0, max_value=5), max_size=30),
    st.integers(min_value=0, max_value=30),
)
def test_replies_come_in_the_order_of_their_commands(commands, sizes, before):
    """`before`: from this command on, nothing is issued before the first deliveries."""
    queue = ReplyQueue()
    expected: list[bytes] = []
    owed: list[int] = []

    def deliver(count: int) -> None:
        replies = owed[:count]
        del owed[:count]
        queue.deliver(replies)

    for number, command in enumerate(commands):
        if number >= before and sizes:
            deliver(sizes.pop(0))
        shown = b":%d\r\n" % number
        if command == "own":
            queue.say(queue.issued, shown)
        elif command == "late":
            queue.say(queue.issued, lambda shown=shown: shown)
        else:
            if command == "transform":
                queue.expect(queue.issued, lambda reply: b":%d\r\n" % reply)
            elif command == "absorb":
                queue.expect(queue.issued, lambda reply: b"")
            queue.issued += 1
            owed.append(number)
        if command != "absorb":
            expected.append(shown)
    for size in sizes:
        deliver(size)
    deliver(len(owed))
    assert b"".join(queue.out) == b"".join(expected)
    assert queue.outstanding == 0
    queue.out.clear()
    assert queue.settled


def test_a_reply_that_nobody_asked_for_stops_the_process():
    queue = ReplyQueue()
    queue.issued = 1
    with pytest.raises(InvariantViolation):
        queue.deliver(["OK", "OK"])
