from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.proxy.wire.sse import Event, EventReader, EventTooLargeError

STREAM = (
    b"\xef\xbb\xbf: hello\r\nevent: message\r\nid: 7\r\ndata: one\r\ndata: two\r\n\r\n"
    b"data:three\n\n: ping\n\nretry: 500\rid: 8\rdata:\r\rdata: four\n\n"
)
EVENTS = [
    Event(b"one\ntwo", b"message", b"7"),
    Event(b"three"),
    Event(b"", b"message", b"8", b"500"),
    Event(b"four"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_however_the_stream_is_cut(cuts: list[int]) -> None:
    reader = EventReader(1000)
    edges = [0, *sorted(cuts), len(STREAM)]
    found = [one for a, b in pairwise(edges) for one in reader.feed(STREAM[a:b])]
    assert found == EVENTS


def test_an_event_survives_being_written_and_read() -> None:
    events = [*EVENTS, Event(b"x\ny\n", b"other", b"1", b"2")]
    assert list(EventReader(1000).feed(b"".join(one.encode() for one in events))) == events


@pytest.mark.parametrize("chunk", [b"data: " + b"x" * 60, b"data: x\n" * 8, b"x" * 60])
def test_an_event_that_does_not_end_is_cut_off(chunk: bytes) -> None:
    reader = EventReader(100)
    with pytest.raises(EventTooLargeError):
        list(chain.from_iterable(reader.feed(chunk) for _ in range(4)))


def test_comments_may_go_on_for_ever() -> None:
    reader = EventReader(100)
    for _ in range(1000):
        assert list(reader.feed(b": still here\n")) == []
    assert list(reader.feed(b"data: x\n\n")) == [Event(b"x")]
