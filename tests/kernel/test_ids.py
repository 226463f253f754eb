"""Identifiers follow RFC 9562."""

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122

from app.kernel.ids import new_id


def test_they_are_version_7_of_now() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id()
    after = time.time_ns() // 1_000_000
    assert made.version == 7
    assert made.variant == RFC_4122
    assert before <= made.int >> 80 <= after


def test_a_later_millisecond_sorts_later() -> None:
    ids = [new_id() for _ in range(20_000)]
    millis = [made.int >> 80 for made in ids]
    assert millis == sorted(millis)
    assert millis[0] < millis[-1]
    assert ids[0] < ids[-1]
    assert str(ids[0]) < str(ids[-1])


def test_every_random_bit_varies_and_none_repeats() -> None:
    ids = [new_id().int for _ in range(2000)]
    assert len(set(ids)) == len(ids)
    random_bits = (1 << 62) - 1
    ones, zeros = 0, 0
    for made in ids:
        ones |= made
        zeros |= ~made
    assert ones & random_bits == random_bits
    assert zeros & random_bits == random_bits


def test_each_sorts_after_the_one_before_even_within_a_millisecond() -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: [new_id() for _ in range(5000)], range(4)))
    for ids in made:
        assert ids == sorted(ids)
    assert len({one for ids in made for one in ids}) == 20_000
