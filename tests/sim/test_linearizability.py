"""The checker against a brute-force one, and on the classic ways for a history to be wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paxos.sim import linearizability
from paxos.sim.history import NOT_OLD, Event, Operation, operations
from paxos.sim.linearizability import Undecided
from paxos.sim.wording import described

# ---------------------------------------------------------------- a checker too simple to be wrong

NOTHING = "nothing"
OPEN = "open"
"""What an operation was told is known, but not yet at the moment looked at."""


def applied(state: Any, f: str, argument: Any) -> Any:
    """Return the value after an operation and what it answers; None when it cannot happen."""
    match f:
        case "read" | "list-read":
            return state, state
        case "write":
            return argument, NOTHING
        case "delete":
            return None, NOTHING
        case "cas":
            return (argument[1], NOTHING) if state == argument[0] else None
        case "incr":
            if state is not None and not isinstance(state, int):
                return None
            return (state or 0) + 1, (state or 0) + 1
        case "append":
            if isinstance(state, int):
                state = str(state)
            grown = (state or "") + argument
            return grown, len(grown)
        case "list-append":
            return (*(state or ()), argument), NOTHING
    raise AssertionError(f)


def explains(answer: Any, operation: Operation) -> bool:
    if operation.outcome not in ("ok", OPEN):
        return True
    if operation.f == "list-read":
        return [value for _, value in operation.result] == list(answer or ())
    if operation.f == "read":
        told = operation.result
        return answer == told or (answer is not None and told is not None and str(answer) == told)
    return answer == NOTHING or operation.result is None or answer == operation.result


def brute_force(history: Sequence[Operation], initial: Any = None) -> bool:
    """Try every order that real time allows, with every choice of what unanswered ones did."""
    for key in {operation.key for operation in history}:
        mine = [operation for operation in history if operation.key == key]
        if not placed(initial if key is not None else None, mine):
            return False
    return True


def claims_difference(operation: Operation) -> bool:
    return operation.outcome == "fail" and operation.f == "cas" and operation.error == NOT_OLD


def placed(state: Any, left: list[Operation]) -> bool:
    left = [one for one in left if one.outcome != "fail" or claims_difference(one)]
    ends = [one.ended for one in left if one.outcome not in ("info", OPEN)]
    first_answer = min((ended for ended in ends if ended is not None), default=None)
    if first_answer is None:
        return True
    for operation in left:
        if operation.began > first_answer:
            continue
        rest = [one for one in left if one is not operation]
        if claims_difference(operation):
            if state != operation.argument[0] and placed(state, rest):
                return True
            continue
        happened = applied(state, operation.f, operation.argument)
        if happened is None:
            continue
        made, answer = happened
        if explains(answer, operation) and placed(made, rest):
            return True
    return False


# ---------------------------------------------------------------- histories by chance

FAMILIES = {
    "register": ("read", "write", "cas", "delete"),
    "counter": ("read", "incr", "incr", "write"),
    "text": ("read", "append", "append"),
    "mixed": ("read", "write", "append", "delete", "cas"),
    "list": ("list-read", "list-append"),
}


def ask(dice: Random, f: str, fresh: int) -> Any:
    """Return an argument."""
    match f:
        case "write":
            return dice.randrange(3)
        case "cas":
            return [dice.randrange(3), dice.randrange(3)]
        case "append":
            return dice.choice("ab")
        case "list-append":
            return f"v{fresh}"
    return None


class Clients:
    """Clients whose operations overlap, and a store that is right."""

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        self.family = dice.choice(sorted(FAMILIES))
        self.keys = [None] if self.family == "list" else ["a", "b"][: dice.randint(1, 2)]
        self.state: dict[str | None, Any] = {}
        self.events: list[Event] = []
        self.open_of: dict[int, tuple[str, str | None, Any]] = {}
        self.answer_of: dict[int, tuple[str, Any]] = {}
        self.processes = list(range(dice.randint(1, 4)))
        self.invoked = 0

    def turn(self) -> None:
        lane = self.dice.randrange(len(self.processes))
        process = self.processes[lane]
        if process not in self.open_of:
            self.invoke(process)
        elif process not in self.answer_of and self.dice.random() < 0.8:
            self.happen(process)
        elif self.dice.random() < 0.15:
            self.events.append(self.end(process, "info", None))
            self.processes[lane] = max(self.processes) + 1
        elif process in self.answer_of:
            kind, answer = self.answer_of.pop(process)
            self.events.append(self.end(process, kind, answer))

    def invoke(self, process: int) -> None:
        f, key = self.dice.choice(FAMILIES[self.family]), self.dice.choice(self.keys)
        argument = ask(self.dice, f, self.invoked)
        self.invoked += 1
        self.open_of[process] = (f, key, argument)
        self.events.append(Event(process=process, type="invoke", f=f, key=key, value=argument))

    def happen(self, process: int) -> None:
        f, key, argument = self.open_of[process]
        happened = applied(self.state.get(key), f, argument)
        if happened is None:
            self.answer_of[process] = ("fail", None)
            return
        self.state[key], answer = happened
        if f == "list-read":
            answer = [[slot, value] for slot, value in enumerate(answer or (), start=1)]
        elif answer == NOTHING or (f == "append" and self.dice.random() < 0.5):
            answer = None
        self.answer_of[process] = ("ok", answer)

    def end(self, process: int, kind: str, answer: Any) -> Event:
        f, key, _ = self.open_of.pop(process)
        self.answer_of.pop(process, None)
        compared = kind == "fail" and f == "cas" and self.dice.random() < 0.5
        error = NOT_OLD if compared else ""
        return Event(process=process, type=kind, f=f, key=key, value=answer, error=error)


def history_by(dice: Random, turns: int = 30, invoked_max: int = 8) -> list[Event]:
    """A history of a right store; three times out of four, then, with a lie or two."""
    clients = Clients(dice)
    for _ in range(turns):
        clients.turn()
        if clients.invoked >= invoked_max:
            break
    events = clients.events
    for _ in range(dice.choice((0, 1, 1, 2))):
        events = lied(dice, events)
    return events


def lied(dice: Random, events: list[Event]) -> list[Event]:
    """Change one answer, or exchange two neighbouring events of different processes."""
    events = list(events)
    told = [
        at
        for at, event in enumerate(events)
        if event.type == "ok" and event.f in ("read", "incr", "list-read")
    ]
    if told and dice.random() < 0.8:
        at = dice.choice(told)
        event = events[at]
        if event.f == "list-read":
            events[at] = replaced(event, another_list(dice, event.value))
        elif isinstance(event.value, str):
            events[at] = replaced(event, dice.choice(["", "a", "b", "ab", "ba", event.value[:-1]]))
        else:
            events[at] = replaced(event, dice.randrange(4))
        return events
    at = dice.randrange(len(events))
    if at + 1 < len(events) and events[at + 1].process != events[at].process:
        events[at], events[at + 1] = events[at + 1], events[at]
    return events


def another_list(dice: Random, items: list[list[Any]]) -> list[list[Any]]:
    values = [value for _, value in items]
    change = dice.randrange(4)
    if change == 0:
        values = values[:-1]
    elif change == 1:
        values = values[::-1]
    elif change == 2:
        values = [*values, f"v{dice.randrange(5)}"]
    elif values:
        values[dice.randrange(len(values))] = f"v{dice.randrange(5)}"
    return [[slot, value] for slot, value in enumerate(values, start=1)]


def replaced(event: Event, value: Any) -> Event:
    return Event(
        process=event.process,
        type=event.type,
        f=event.f,
        key=event.key,
        value=value,
        error=event.error,
    )


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_verdict_is_that_of_brute_force_when_histories_are_random(dice: Random) -> None:
    history = operations(history_by(dice))
    verdict = linearizability.check(history)
    assert verdict.linearizable == brute_force(history)
    assert verdict.linearizable == (not verdict.offending)


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False))
def test_offending_part_contradicts_itself_whatever_the_others_did(dice: Random) -> None:
    history = operations(history_by(dice))
    verdict = linearizability.check(history)
    if verdict.linearizable:
        return
    mine = [one for one in history if one.key == verdict.key]
    kept = {one.index for one in verdict.offending}
    assert kept <= {one.index for one in mine}
    if "before anybody began to write it" in verdict.reason:
        early, late = verdict.offending
        assert early.ended is not None
        assert early.ended < late.began
        return
    ends = [one.ended for one in verdict.offending if one.ended is not None]
    assert any(contradicts(mine, kept, until) for until in ends)


def contradicts(history: list[Operation], kept: set[int], until: int) -> bool:
    """Tell whether what is kept has no explanation at a certain moment, if every other operation
    may take effect at any time, or never; or if the value just before the kept ones may have been
    anything, and what was over before them is left out."""
    known: list[Operation] = []
    for one in history:
        if one.began > until:
            continue
        if one.index not in kept:
            if one.outcome != "fail":
                one = msgspec.structs.replace(one, outcome="info", began=-1)
        elif one.outcome == "ok" and (one.ended or 0) > until:
            one = msgspec.structs.replace(one, outcome=OPEN)
        known.append(one)
    if not placed(None, known):
        return True
    if history[0].key is None:
        return False
    first = min(one.began for one in history if one.index in kept)
    over = {one.index for one in history if one.outcome != "info" and (one.ended or 0) < first}
    near = [one for one in known if one.index not in over]
    values: list[Any] = [None, "another", 1000, *range(-8, 12)]
    return not any(placed(value, near) for value in values)


# ---------------------------------------------------------------- the classic ways to be wrong


class Story:
    """A history told line by line: `begin` and `end` operations, or do both at once."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def begin(self, process: int, f: str, key: str | None = "x", value: Any = None) -> None:
        self.events.append(Event(process=process, type="invoke", f=f, key=key, value=value))

    def end(self, process: int, value: Any = None, kind: str = "ok", error: str = "") -> None:
        begun = next(event for event in reversed(self.events) if event.process == process)
        self.events.append(
            Event(process=process, type=kind, f=begun.f, key=begun.key, value=value, error=error)
        )

    def do(self, process: int, f: str, asked: Any = None, told: Any = None, key: str = "x") -> None:
        self.begin(process, f, key, asked)
        self.end(process, told)

    def append(self, process: int, value: str, slot: int | None = None) -> None:
        self.begin(process, "list-append", None, value)
        self.end(process, slot)

    def read_list(self, process: int, *items: tuple[int, str]) -> None:
        self.begin(process, "list-read", None)
        self.end(process, [list(item) for item in items])

    def verdict(self) -> linearizability.Verdict:
        return linearizability.check(operations(self.events))

    def offending(self) -> list[str]:
        return [described(one) for one in self.verdict().offending]


def test_stale_read_is_found_when_a_write_was_answered_before_it() -> None:
    story = Story()
    story.do(0, "write", 1)
    story.do(1, "read", told=1)
    story.do(0, "write", 2)
    story.do(1, "read", told=1)
    verdict = story.verdict()
    assert not verdict.linearizable
    assert verdict.key == "x"
    assert "a stale read" in verdict.reason
    assert story.offending() == ["write x 2", "read x → 1"]


def test_read_may_see_either_value_when_the_write_is_not_answered_yet() -> None:
    for told in (1, 2):
        story = Story()
        story.do(0, "write", 1)
        story.begin(0, "write", value=2)
        story.do(1, "read", told=told)
        story.end(0)
        assert story.verdict().linearizable


def test_reads_that_go_back_are_found_when_the_write_is_still_open() -> None:
    story = Story()
    story.do(0, "write", 1)
    story.begin(0, "write", value=2)
    story.do(1, "read", told=2)
    story.do(2, "read", told=1)
    story.end(0)
    assert "went back in time" in story.verdict().reason
    assert story.offending() == ["read x → 2", "read x → 1"]


def test_lost_update_is_found_when_two_clients_count_to_the_same_number() -> None:
    story = Story()
    story.do(0, "incr", told=1)
    story.begin(0, "incr")
    story.begin(1, "incr")
    story.end(0, 2)
    story.end(1, 2)
    assert "both counted to 2" in story.verdict().reason
    assert story.offending() == ["incr x → 2", "incr x → 2"]


def test_lost_update_is_found_when_two_clients_swap_the_same_value() -> None:
    story = Story()
    story.do(0, "write", 1)
    story.begin(0, "cas", value=[1, 2])
    story.begin(1, "cas", value=[1, 3])
    story.end(0)
    story.end(1)
    verdict = story.verdict()
    assert "one update was lost" in verdict.reason
    assert [one.f for one in verdict.offending] == ["cas", "cas"]


def test_read_from_the_future_is_found_when_its_write_begins_later() -> None:
    story = Story()
    story.do(0, "read", told=7)
    story.do(1, "write", 7)
    assert "before anybody began to write it" in story.verdict().reason
    assert story.offending() == ["read x → 7", "write x 7"]


def test_value_from_nowhere_is_found_when_nobody_wrote_it() -> None:
    story = Story()
    story.do(0, "write", 1)
    story.do(0, "read", told=9)
    assert "which nobody ever wrote" in story.verdict().reason
    assert story.offending() == ["read x → 9"]


def test_value_applied_twice_by_a_retry_is_found_when_a_read_shows_it() -> None:
    story = Story()
    story.do(0, "append", "a", told=1)
    story.do(1, "read", told="aa")
    assert not story.verdict().linearizable
    story = Story()
    story.append(0, "a", 1)
    story.read_list(1, (1, "a"), (2, "a"))
    assert "2 times" in story.verdict().reason


def test_failed_write_is_found_when_a_read_shows_it() -> None:
    story = Story()
    story.begin(0, "write", value=5)
    story.end(0, kind="fail")
    story.do(1, "read", told=5)
    assert story.offending() == ["read x → 5"]


def test_unanswered_write_may_be_seen_later_or_never() -> None:
    for kind in ("info", None):
        for told in (1, 2):
            story = Story()
            story.do(0, "write", 1)
            story.begin(1, "write", value=2)
            if kind is not None:
                story.end(1, kind=kind)
            story.do(0, "read", told=1)
            story.do(0, "read", told=told)
            assert story.verdict().linearizable


def test_unanswered_write_is_no_excuse_when_its_value_comes_and_goes_twice() -> None:
    story = Story()
    story.do(0, "write", 1)
    story.begin(1, "write", value=2)
    story.end(1, kind="info")
    for told in (2, 1):
        story.do(0, "read", told=told)
    assert not story.verdict().linearizable


def test_failed_swap_is_a_claim_only_when_it_was_compared() -> None:
    for error, linearizable in ((NOT_OLD, False), ("connection lost", True)):
        story = Story()
        story.do(0, "write", 1)
        story.begin(1, "cas", value=[1, 2])
        story.end(1, kind="fail", error=error)
        assert story.verdict().linearizable is linearizable


def test_deleted_value_is_gone_when_the_delete_was_answered() -> None:
    story = Story()
    story.do(0, "write", 1)
    story.do(0, "delete")
    story.do(1, "read", told=None)
    assert story.verdict().linearizable
    story.do(1, "read", told=1)
    assert not story.verdict().linearizable


def test_integer_and_its_text_are_the_same_value() -> None:
    story = Story()
    story.do(0, "incr", told=1)
    story.do(0, "read", told="1")
    story.do(0, "cas", [1, "5"])
    story.do(0, "incr", told="6")
    assert story.verdict().linearizable


def test_keys_are_independent_and_the_first_one_at_fault_is_named() -> None:
    story = Story()
    for key in ("a", "b", "c"):
        story.do(0, "write", 1, key=key)
        story.do(0, "read", told=2 if key == "b" else 1, key=key)
    verdict = story.verdict()
    assert verdict.key == "b"
    assert verdict.checked.keys == 3
    assert verdict.checked.operations == 6


def test_first_value_is_what_the_caller_says() -> None:
    story = Story()
    story.do(0, "read", told="start")
    history = operations(story.events)
    assert linearizability.check(history, initial="start").linearizable
    assert not linearizability.check(history).linearizable


def test_equal_times_mean_the_same_moment_when_operations_are_made_by_hand() -> None:
    write = Operation(
        index=0, process=0, f="write", key="x", argument=1, invoked=0, returned=5, outcome="ok"
    )
    read = Operation(index=1, process=1, f="read", key="x", invoked=5, returned=6, outcome="ok")
    assert linearizability.check([write, read]).linearizable
    later = msgspec.structs.replace(read, invoked=5.1)
    assert not linearizability.check([write, later]).linearizable


def test_search_gives_up_loudly_when_the_budget_is_used_up() -> None:
    story = Story()
    for process in range(12):
        story.begin(process, "cas", value=[process % 3, (process + 1) % 3])
    story.begin(20, "write", value=0)
    story.end(20)
    for process in range(12):
        story.end(process)
    story.do(20, "read", told=1)
    with pytest.raises(Undecided, match="after 3 configurations"):
        linearizability.check(operations(story.events), budget=3)


def test_many_unanswered_writes_are_decided_when_nobody_sees_them() -> None:
    story = Story()
    for process in range(10, 210):
        story.begin(process, "write", value=process)
        story.do(0, "write", process * 1000)
        story.do(1, "read", told=process * 1000)
    verdict = linearizability.check(operations(story.events), budget=1000)
    assert verdict.linearizable


def test_many_unanswered_increments_are_decided_when_reads_count_them() -> None:
    story = Story()
    for process in range(10, 60):
        story.begin(process, "incr")
        story.do(0, "read", told=(process - 9) // 2 or None)
    assert linearizability.check(operations(story.events), budget=5000).linearizable
    story.do(0, "read", told=51)
    assert not linearizability.check(operations(story.events), budget=5000).linearizable


def test_many_writes_at_once_are_decided_when_one_of_the_first_is_read() -> None:
    story = Story()
    for process in range(40):
        story.begin(process, "write", value=process)
    for process in range(40):
        story.end(process)
    story.do(0, "read", told=0)
    assert linearizability.check(operations(story.events), budget=1000).linearizable


def test_many_appends_at_once_are_decided_by_what_is_read() -> None:
    texts = [f"<{process}>" for process in range(30)]
    story = Story()
    for process, text in enumerate(texts):
        story.begin(process, "append", value=text)
    for process in range(30):
        story.end(process)
    story.do(0, "read", told="".join(reversed(texts)))
    assert linearizability.check(operations(story.events), budget=1000).linearizable


def test_long_history_is_decided_without_recursion() -> None:
    story = Story()
    for number in range(5000):
        story.do(number % 7, "write", number)
        story.do(number % 5, "read", told=number)
    assert story.verdict().linearizable
    story.do(0, "read", told=17)
    verdict = story.verdict()
    assert [described(one) for one in verdict.offending] in (
        ["read x → 4999", "read x → 17"],
        ["write x 4999", "read x → 17"],
    )


# ---------------------------------------------------------------- the ordered list


def test_list_is_linearizable_when_reads_show_one_order() -> None:
    story = Story()
    story.append(0, "a", 1)
    story.begin(1, "list-append", None, "b")
    story.read_list(2, (1, "a"))
    story.end(1, kind="info")
    story.append(0, "c", 4)
    story.read_list(2, (1, "a"), (3, "b"), (4, "c"))
    assert story.verdict().linearizable


def test_list_may_hold_several_values_in_one_slot_when_they_were_appended_together() -> None:
    story = Story()
    story.begin(0, "list-append", None, "a")
    story.begin(1, "list-append", None, "b")
    story.end(0, 5)
    story.end(1, 5)
    story.read_list(0, (5, "b"), (5, "a"))
    assert story.verdict().linearizable


@pytest.mark.parametrize(
    ("tell", "reason"),
    [
        (lambda s: (s.append(0, "a", 1), s.read_list(1)), "did not read 'a'"),
        (lambda s: s.read_list(1, (1, "a")), "which nobody appended"),
        (lambda s: (s.append(0, "a", 1), s.read_list(1, (2, "a"))), "was told slot 1"),
        (
            lambda s: (s.append(0, "a", 1), s.append(0, "b", 2), s.read_list(1, (2, "b"))),
            "was told slot 1",
        ),
        (
            lambda s: (s.append(0, "a"), s.append(1, "b"), s.read_list(1, (1, "b"), (2, "a"))),
            "comes after it in the list",
        ),
        (lambda s: (s.append(0, "a", 9), s.append(1, "b", 3)), "slot 9 had been told"),
        (lambda s: (s.read_list(0, (1, "a")), s.append(1, "a", 1)), "before process 1 began"),
        (
            lambda s: (
                s.append(0, "a"),
                s.begin(2, "list-append", None, "b"),
                s.read_list(1, (1, "a"), (2, "b")),
                s.read_list(1, (1, "a")),
            ),
            "went back in time",
        ),
        (
            lambda s: (
                s.begin(2, "list-append", None, "b"),
                s.begin(3, "list-append", None, "c"),
                s.read_list(1, (1, "b")),
                s.read_list(4, (1, "c")),
            ),
            "two reads disagree",
        ),
        (
            lambda s: (
                s.begin(2, "list-append", None, "b"),
                s.begin(3, "list-append", None, "c"),
                s.read_list(1, (2, "b"), (1, "c")),
            ),
            "slot 1 after slot 2",
        ),
        (
            lambda s: (
                s.begin(2, "list-append", None, "b"),
                s.end(2, kind="fail"),
                s.read_list(1, (2, "b")),
            ),
            "though its append failed",
        ),
    ],
)
def test_list_is_not_linearizable_when(tell: Callable[[Story], object], reason: str) -> None:
    story = Story()
    tell(story)
    verdict = story.verdict()
    assert not verdict.linearizable
    assert reason in verdict.reason
    assert verdict.key is None
    assert 1 <= len(verdict.offending) <= 3


def test_equal_values_in_the_list_are_told_apart_when_their_slots_are_known() -> None:
    story = Story()
    story.append(0, "a", 1)
    story.append(1, "a", 2)
    story.read_list(2, (1, "a"), (2, "a"))
    assert story.verdict().linearizable
