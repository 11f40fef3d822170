from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.core.errors import LocalProtocolError, RemoteProtocolError
from paxos.transport.framing import HEADER_BYTES, FrameReader, frame

bodies = st.lists(st.binary(min_size=1, max_size=300), max_size=12)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes at these places."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(bodies, st.lists(st.integers(min_value=0), max_size=20))
def test_frames_come_out_whole_when_the_stream_is_cut_anywhere(
    sent: list[bytes], places: list[int]
) -> None:
    """framing.py: four bytes of length, then the body, however TCP cuts them."""
    reader = FrameReader(300)
    received = []
    for piece in cut(b"".join(map(frame, sent)), places):
        received += reader.feed(piece)
    assert received == sent
    assert not reader.partial


@given(st.binary(min_size=1, max_size=50), st.integers(min_value=0, max_value=53))
def test_a_frame_waits_when_its_end_is_missing(body: bytes, kept: int) -> None:
    """Nothing is handed over before it is whole."""
    framed = frame(body)
    reader = FrameReader(100)
    piece = framed[: min(kept, len(framed) - 1)]
    assert reader.feed(piece) == []
    assert reader.partial == bool(piece)
    assert reader.feed(framed[len(piece) :]) == [body]


@given(st.binary(max_size=400))
def test_a_reader_never_holds_more_than_one_frame_when_fed_anything(data: bytes) -> None:
    """DESIGN rule 10: every byte from outside is bounded."""
    reader = FrameReader(64)
    for byte in data:
        try:
            frames = reader.feed(bytes([byte]))
        except RemoteProtocolError:
            break
        assert all(1 <= len(body) <= 64 for body in frames)
        assert len(reader._kept) <= HEADER_BYTES + 64


@pytest.mark.parametrize("size", [0, 65, 2**31, 2**32 - 1])
def test_a_length_is_refused_when_it_is_out_of_bounds(size: int) -> None:
    """DESIGN rule 10: "checked before it is used": no byte of the body is waited for."""
    reader = FrameReader(64)
    with pytest.raises(RemoteProtocolError, match=f"{size} bytes was announced; 1 to 64"):
        reader.feed(size.to_bytes(4, "big"))


def test_a_length_is_refused_when_it_came_in_pieces() -> None:
    """The check is not only on the first path."""
    reader = FrameReader(64)
    reader.feed(b"\x00\x00")
    with pytest.raises(RemoteProtocolError, match="65 bytes was announced"):
        reader.feed(b"\x00\x41")


def test_good_frames_before_a_bad_one_do_not_hide_it() -> None:
    """A bad frame closes the connection with a clear reason."""
    reader = FrameReader(64)
    with pytest.raises(RemoteProtocolError, match="0 bytes was announced"):
        reader.feed(frame(b"good") + bytes(4))


def test_the_bound_can_be_raised_when_the_other_side_has_proven_itself() -> None:
    """links.py: small frames in the handshake, large ones after it."""
    reader = FrameReader(8)
    assert reader.feed(frame(b"12345678")) == [b"12345678"]
    reader.frame_bytes_max = 100
    assert reader.feed(frame(b"x" * 100)) == [b"x" * 100]


def test_a_frame_is_refused_when_its_length_does_not_fit() -> None:
    """errors.LocalProtocolError: we were about to break the protocol."""

    class Huge(bytes):
        def __len__(self) -> int:
            return 1 << 32

    with pytest.raises(LocalProtocolError, match="cannot be sent"):
        frame(Huge())
