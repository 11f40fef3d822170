"""How the load generator is called, and what its answers are taken for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from benchmarks import generator, redis_benchmark
from benchmarks.errors import BenchmarkError
from benchmarks.generator import Load, Timing

ANSWER: dict[str, Any] = {
    "target": "resp",
    "op": "write",
    "connections": 8,
    "outstanding": 64,
    "value_bytes": 256,
    "keys": 10000,
    "seconds": 3.0,
    "operations": 120_000,
    "errors": 2,
    "misses": 0,
    "rate": 40_000.0,
    "p50_ms": 1.5,
    "p90_ms": 2.0,
    "p99_ms": 3.5,
    "p999_ms": 5.0,
    "max_ms": 9.0,
    "mean_ms": 1.6,
    "gap_ms": 11.0,
    "first_error": "i/o timeout",
    "started_unix_ms": 1_700_000_000_000,
    "generator_cpu_seconds": 0.4,
    "timeline": [[0, 400], [10, 390]],
}


def test_answer_is_understood() -> None:
    result = generator.parse(json.dumps(ANSWER))
    assert result.rate == 40_000.0
    assert (result.p50_ms, result.p99_ms, result.gap_ms) == (1.5, 3.5, 11.0)
    assert (result.errors, result.first_error) == (2, "i/o timeout")
    assert result.timeline == [(0, 400), (10, 390)]
    assert result.started_unix_ms == 1_700_000_000_000


def test_answer_without_timeline_and_errors_is_understood() -> None:
    rest = {name: value for name, value in ANSWER.items() if name != "timeline"}
    result = generator.parse(json.dumps({**rest, "first_error": None}))
    assert (result.timeline, result.first_error) == ([], "")


@pytest.mark.parametrize(
    "text",
    ["", "load: no such target", "[]", "{}", json.dumps({**ANSWER, "p99_ms": None})],
)
def test_answer_is_refused_when_it_is_not_what_it_should_be(text: str) -> None:
    with pytest.raises(BenchmarkError, match="not what it should be"):
        generator.parse(text)


def test_answer_is_refused_when_nothing_was_acknowledged() -> None:
    with pytest.raises(BenchmarkError, match="nothing was acknowledged: i/o timeout"):
        generator.parse(json.dumps({**ANSWER, "operations": 0, "p50_ms": None}))


def test_command_line_has_every_part_of_the_load() -> None:
    words = generator.arguments(
        "etcd",
        ["a:1", "b:2"],
        Load("read", 64, few=False, value_bytes=16, keys=99),
        Timing(warmup_s=1.5, measured_s=4.0, seed=7),
    )
    options = dict(zip(words[1:-1:2], words[2:-1:2], strict=True))
    assert options == {
        "--target": "etcd",
        "--endpoints": "a:1,b:2",
        "--op": "read",
        "--connections": "64",
        "--outstanding": "64",
        "--value-bytes": "16",
        "--keys": "99",
        "--seconds": "4",
        "--warmup-seconds": "1.5",
        "--seed": "7",
    }
    assert words[-1] == "--stop-on-stdin"


def test_command_line_asks_for_fill_and_timeline_only_when_wanted() -> None:
    plain = generator.arguments("resp", ["a:1"], Load("write", 1), Timing())
    both = generator.arguments("resp", ["a:1"], Load("write", 1), Timing(fill=True, timeline=True))
    assert set(both) - set(plain) == {"--fill", "--timeline"}


def test_titles_tell_loads_apart_when_only_the_size_or_the_keys_differ() -> None:
    loads = [Load("write", 64), Load("write", 64, value_bytes=4096), Load("write", 64, keys=5)]
    assert len({load.long_title for load in loads}) == 3
    assert loads[1].long_title == "write 64 on 8, 4 KiB, 10,000 keys"


CSV = (
    "WARNING: Could not fetch server CONFIG\n"
    '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms",'
    '"p99_latency_ms","max_latency_ms"\n'
    '"SET","1721.17","0.573","0.320","0.527","0.855","1.311","3.007"\n'
    '"GET","4510.00","0.213","0.112","0.191","0.335","0.511","1.007"\n'
)


def test_table_of_redis_benchmark_is_understood_behind_its_warning() -> None:
    assert redis_benchmark.rows(CSV) == [
        ("SET", 1721.17, 0.527, 1.311),
        ("GET", 4510.0, 0.191, 0.511),
    ]


@pytest.mark.parametrize("text", ["", "Could not connect", '"test","speed"\n"SET","1"\n'])
def test_table_of_redis_benchmark_is_refused_when_it_is_another(text: str) -> None:
    with pytest.raises(BenchmarkError, match="redis-benchmark printed"):
        redis_benchmark.rows(text)
