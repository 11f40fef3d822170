"""Every target with its seeds, the kept corpus, what once broke it, and what is made up."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import corpus
from .inputs import SIZES_MAX, Stream, Target, content_name, unpack
from .targets import TARGETS

EXAMPLES = 60
BENDS_MAX = 6

each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


def bent(target: Target, data: bytes, seed: int, times: int) -> bytes:
    """Return an input after so many changes that know its structure."""
    dice = Random(seed)
    for _ in range(times):
        data = target.mutate(data, dice)
    return data[: target.bytes_max]


@each_target
def test_target_holds_for_its_seeds(target: Target) -> None:
    seeds = target.seeds()
    assert len(seeds) >= 5
    for data in seeds:
        target.run(data)


@each_target
def test_target_holds_for_the_kept_corpus(target: Target) -> None:
    kept = corpus.kept(corpus.CORPUS, target)
    assert kept, f"python -m tests.fuzz.guided {target.name}"
    for data in kept:
        target.run(data)


@each_target
def test_target_holds_for_what_once_broke_it(target: Target) -> None:
    broke = corpus.kept(corpus.CRASHES, target)
    assert all(len(data) <= 1 << 16 for data in broke)
    for data in broke:
        target.run(data)


@each_target
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_target_holds_for_bent_inputs(target: Target, data: st.DataObject) -> None:
    begin = [*target.seeds(), *corpus.kept(corpus.CORPUS, target)]
    made = st.builds(
        bent,
        st.just(target),
        st.sampled_from(begin),
        st.integers(0, 2**32 - 1),
        st.integers(1, BENDS_MAX),
    )
    target.run(data.draw(made, label="input"))


@each_target
@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(data=st.binary(max_size=300))
def test_target_holds_for_any_bytes(target: Target, data: bytes) -> None:
    target.run(data)


@given(st.binary(max_size=200))
def test_stream_is_cut_into_all_of_its_bytes_when_unpacked_from_anything(data: bytes) -> None:
    stream = unpack(data)
    assert b"".join(stream.chunks()) == stream.body
    assert len(stream.sizes) <= SIZES_MAX
    assert unpack(stream.pack()) == stream
    assert list(Stream(0, b"", stream.body).chunks()) == [stream.body] * bool(stream.body)


def test_kept_corpus_is_small_and_named_by_content() -> None:
    files = [path for path in corpus.CORPUS.rglob("*") if path.is_file()]
    assert len(files) < corpus.FILES_MAX
    assert sum(path.stat().st_size for path in files) < corpus.BYTES_MAX
    both = [*files, *(path for path in corpus.CRASHES.rglob("*") if path.is_file())]
    assert {path.parent.name for path in both} <= set(TARGETS)
    assert {path: content_name(path.read_bytes()) for path in both} == {
        path: path.name for path in both
    }


def test_target_limits_leave_room_for_all_targets() -> None:
    assert corpus.TARGET_FILES_MAX * len(TARGETS) < corpus.FILES_MAX
    assert corpus.TARGET_BYTES_MAX * len(TARGETS) < corpus.BYTES_MAX


def test_chosen_inputs_reach_all_that_the_given_ones_reach() -> None:
    target = TARGETS["peer"]
    seeds = target.seeds()
    few = corpus.chosen(target, seeds)
    assert len(few) < len(seeds)
    assert corpus.reach(target, few) == corpus.reach(target, seeds)
    assert corpus.chosen(target, seeds[::-1]) == few
