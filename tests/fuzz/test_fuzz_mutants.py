"""Faults put into the readers on purpose: the seeds and the kept corpus find each of them.

A target that found nothing because it looks at nothing would pass all other tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from paxos.doors import resp_connection, resp_reader, resp_replies
from paxos.machine import execution, glob
from paxos.machine.kv import Store
from paxos.storage import recovery
from paxos.storage.mark import SyncMark
from paxos.transport.framing import FrameReader
from paxos.transport.links import Links
from paxos.web.server import PageProtocol

from . import corpus, resp_target
from .targets import TARGETS

Put = Callable[[pytest.MonkeyPatch], None]


def _reader_forgets_a_split_header(patch: pytest.MonkeyPatch) -> None:
    whole = resp_reader._Walker._read_header

    def forgetting(walker: Any, data: bytes, position: int) -> int:
        walker._head = b""
        return whole(walker, data, position)

    patch.setattr(resp_reader._Walker, "_read_header", forgetting)


def _reader_accepts_leading_zeros(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resp_reader, "_number", lambda digits: int(digits) if digits.isdigit() else -1)


def _own_replies_wait_without_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resp_connection, "WAITING_BYTES_MAX", 1 << 60)
    # The target sets its own limits: it must not set this one back.
    small = {name: to for name, to in resp_target.LIMITED[resp_connection].items()}
    del small["WAITING_BYTES_MAX"]
    patch.setitem(resp_target.LIMITED, resp_connection, small)


def _own_replies_gather_without_bound(patch: pytest.MonkeyPatch) -> None:
    def put(queue: Any, saying: Any) -> None:
        queue.out.append(saying if isinstance(saying, bytes) else saying())

    patch.setattr(resp_replies.ReplyQueue, "_put", put)


def _frames_are_not_bounded(patch: pytest.MonkeyPatch) -> None:
    def size(reader: FrameReader, data: bytes, start: int) -> int:
        return max(1, int.from_bytes(data[start : start + 4], "big"))

    patch.setattr(FrameReader, "_size", size)


def _bad_message_raises(patch: pytest.MonkeyPatch) -> None:
    def receive(links: Any, link: Any, peer: Any, body: bytes) -> None:
        links.events.on_message(peer.node, links._decoder.decode(body))

    patch.setattr(Links, "receive", receive)


def _anything_is_torn(patch: pytest.MonkeyPatch) -> None:
    whole = recovery.recover

    def forgiving(folder: Any, numbers: Any, mark: SyncMark, absorb: Any) -> Any:
        mark.batch = 0
        return whole(folder, numbers, mark, absorb)

    patch.setattr("paxos.storage.file_journal.recover", forgiving)


def _payloads_are_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery, "damaged_records", lambda content, group: [])


def _foul_text_in_a_record_raises(patch: pytest.MonkeyPatch) -> None:
    class AsBefore:
        @staticmethod
        def decode(data: Any) -> Any:
            try:
                return whole.decode(data)
            except UnicodeDecodeError as error:
                raise SystemError("it was not caught") from error

    whole = recovery._decoder
    patch.setattr(recovery, "_decoder", AsBefore)


def _error_after_the_answer_raises(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PageProtocol, "send_400_response", H11Protocol.send_400_response)


def _replies_of_exec_are_not_bounded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(execution, "bytes_of", lambda reply: 0)


def _star_never_matches_nothing(patch: pytest.MonkeyPatch) -> None:
    whole = glob._compiled
    patch.setattr(glob, "_compiled", lambda text: whole(text.replace(b".*", b".+")))


def _reads_change_the_state(patch: pytest.MonkeyPatch) -> None:
    whole = Store.scan

    def scan(store: Store, cursor: int, count: int) -> Any:
        store.serial += 1
        return whole(store, cursor, count)

    patch.setattr(Store, "scan", scan)


MUTANTS: dict[str, tuple[str, Put]] = {
    "a header split over chunks is forgotten": ("resp_reader", _reader_forgets_a_split_header),
    "007 is a number": ("resp_reader", _reader_accepts_leading_zeros),
    "own replies wait without bound": ("resp_door", _own_replies_wait_without_bound),
    "own replies gather without bound": ("resp_door", _own_replies_gather_without_bound),
    "frames are not bounded": ("peer", _frames_are_not_bounded),
    "a frame that is no message raises": ("peer", _bad_message_raises),
    "anything invalid is taken for torn": ("journal", _anything_is_torn),
    "payloads are not checked": ("journal", _payloads_are_not_checked),
    "foul text in a record raises": ("journal_forged", _foul_text_in_a_record_raises),
    "a bad body after the answer raises": ("http", _error_after_the_answer_raises),
    "replies are not bounded": ("machine_values", _replies_of_exec_are_not_bounded),
    "a star never matches nothing": ("machine_commands", _star_never_matches_nothing),
    "reads change the state": ("machine_commands", _reads_change_the_state),
}


@pytest.mark.parametrize("fault", MUTANTS)
def test_kept_inputs_find_a_fault_when_it_is_put_in(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, put = MUTANTS[fault]
    target = TARGETS[name]
    inputs = [*target.seeds(), *corpus.kept(corpus.CORPUS, target)]
    put(monkeypatch)
    found = 0
    for data in inputs:
        try:
            target.run(data)
        except Exception:
            found += 1
    assert found, f"{len(inputs)} inputs notice nothing"
