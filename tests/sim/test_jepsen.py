"""Jepsen's own formats: register logs and EDN."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paxos.sim import jepsen
from paxos.sim.history import NOT_OLD, HistoryError, operations

LOG = """INFO  jepsen.core - Running test
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - :nemesis\t:info\t:start\tnil
INFO  jepsen.util - 1\t:invoke\t:cas\t[3 0]
INFO  jepsen.util - 0\t:ok\t:read\t3
INFO  jepsen.util - 1\t:fail\t:cas\t[3 0]
0 :invoke :write -2
0 :info :write :timed-out
"""


def test_log_becomes_events_and_other_lines_are_passed_over() -> None:
    events, lines = jepsen.read_log(LOG)
    assert lines == [2, 4, 5, 6, 7, 8]
    read, cas, write = operations(events, lines)
    assert (read.f, read.result, read.outcome) == ("read", 3, "ok")
    assert (cas.argument, cas.outcome, cas.error) == ([3, 0], "fail", NOT_OLD)
    assert (write.argument, write.outcome, write.error) == (-2, "info", "timed-out")


def test_failed_swap_claims_nothing_when_it_timed_out() -> None:
    events, _ = jepsen.read_log("1 :invoke :cas [1 2]\n1 :fail :cas :timed-out\n")
    assert events[1].error == "timed-out"


@pytest.mark.parametrize(
    "line",
    [
        "INFO  jepsen.util - 0\t:ok",
        "INFO  jepsen.util - 0\t:ok\t:read",
        "INFO  jepsen.util - 0\t:ok\t:read\t1 2",
        "INFO  jepsen.util - 0\t:ok\t:cas\t[1 2",
        "INFO  jepsen.util - 0\t:ok\t:fly\t1",
        "what is this",
    ],
)
def test_log_is_refused_with_its_line_when_an_operation_is_broken(line: str) -> None:
    with pytest.raises(HistoryError, match="line 9"):
        jepsen.read_log(LOG + line + "\n")


def test_log_is_refused_when_no_line_is_an_operation() -> None:
    with pytest.raises(HistoryError, match="no line"):
        jepsen.read_log("INFO  jepsen.core - Running test\n")


def test_edn_becomes_events() -> None:
    events, lines = jepsen.read_edn(
        '{:process 0, :type :invoke, :f :append, :key "7", :value "x \\"0\\" y", :time 2500000}\n'
        "\n"
        "{:process :nemesis, :type :info, :f :kill, :value nil}\n"
        "{:process 0, :type :ok, :f :append, :key 7, :value nil}\n"
    )
    assert lines == [1, 4]
    assert (events[0].key, events[0].value, events[0].time) == ("7", 'x "0" y', 2.5)
    assert events[1].key == "7"


@pytest.mark.parametrize(
    "line",
    [
        "{:process 0",
        "{:process 0}}",
        "{:process 0 :type}",
        "{:type :ok, :f :get}",
        "{:process 0, :type :ok, :f 3}",
        "{:process 0, :type :perhaps, :f :get}",
        '{:process 0, :type :ok, :f :get, :value "open}',
        "[1 2]",
        "(" * 1000,
    ],
)
def test_edn_is_refused_with_its_line_when_it_is_broken(line: str) -> None:
    good = '{:process 0, :type :invoke, :f :get, :key "0", :value nil}\n'
    with pytest.raises(HistoryError, match="line 2"):
        jepsen.read_edn(good + line)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("nil true false", [None, True, False]),
        ("1 -2 +3 4.5 1.5e3", [1, -2, 3, 4.5, 1500.0]),
        (":word sym-bol", [":word", "sym-bol"]),
        ("[1 [2, 3]] ()", [[1, [2, 3]], []]),
        ("{:a {:b 1}}", [{":a": {":b": 1}}]),
        (r'"a\nb\\"', ["a\nb\\"]),
    ],
)
def test_edn_values_are_read(text: str, values: list[object]) -> None:
    assert jepsen.parse(text, 1) == values


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text(alphabet='{}[]()": \n0:aokinvkefg\\-.'))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (jepsen.read_log, jepsen.read_edn):
        try:
            events, lines = read(text)
        except HistoryError:
            continue
        assert len(events) == len(lines)
