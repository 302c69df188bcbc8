from __future__ import annotations

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engine.skipmap import MAX_CHARACTERS, SkipMapError, decode, encode, extend

Ranges = list[tuple[int, int]]


@st.composite
def maps(draw: st.DrawFn) -> tuple[int, Ranges]:
    """A base and ascending ranges above it that do not touch."""
    base = end = draw(st.integers(0, 2**62))
    ranges = []
    for gap, length in draw(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), max_size=200)):
        ranges.append((end + gap, end + gap + length))
        end += gap + length
    return base, ranges


def packed(body: bytes) -> str:
    return "p1:" + base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4) + body).decode().rstrip("=")


@given(maps())
def test_a_map_comes_back_as_it_was(written: tuple[int, Ranges]) -> None:
    base, ranges = written
    text, kept = encode(base, ranges, limit=100_000)
    assert kept == len(ranges)
    assert decode(text, base) == ranges


@given(maps(), st.integers(0, 300))
def test_a_map_that_does_not_fit_keeps_the_nearest(written: tuple[int, Ranges], limit: int) -> None:
    base, ranges = written
    text, kept = encode(base, ranges, limit)
    assert len(text) <= limit
    assert decode(text, base) == ranges[:kept]


@given(maps(), st.data(), st.integers(0, 300))
def test_a_map_that_may_not_forget_keeps_what_it_said_and_the_nearest_of_the_rest(
    written: tuple[int, Ranges], data: st.DataObject, limit: int
) -> None:
    base, ranges = written
    known = data.draw(st.lists(st.sampled_from(ranges), unique=True) if ranges else st.just([]))
    known = sorted((low, high - (high - low) // 2) for low, high in known)
    extended = extend(base, ranges, [(base - 2, base - 1), *known], limit)
    if extended is None:
        assert encode(base, known, limit)[1] < len(known)
        return
    text, kept = extended
    assert len(text) <= limit
    assert decode(text, base) == kept
    offsets = {offset for low, high in kept for offset in range(low, high)}
    assert {offset for low, high in known for offset in range(low, high)} <= offsets
    assert offsets <= {offset for low, high in ranges for offset in range(low, high)}


def test_a_map_that_may_not_forget_has_room_for_some_more() -> None:
    ranges = [(n * n, n * n + n) for n in range(2, 300)]
    known = [(900, 901)]
    extended = extend(0, ranges, known, 40)
    assert extended is not None
    text, kept = extended
    assert (kept[0], kept[-1], len(text) <= 40) == ((4, 6), (900, 901), True)
    assert extend(0, ranges, known, 10) is None
    assert extend(0, ranges, [], 0) == ("", [])


def test_one_stuck_task_with_a_million_done_behind_it_is_one_short_range() -> None:
    text, _ = encode(10**12, [(10**12 + 1, 10**12 + 1_000_001)])
    assert len(text) < 40


def test_every_second_one_of_ten_thousand_fits() -> None:
    ranges = [(n, n + 1) for n in range(1, 10_000, 2)]
    text, kept = encode(0, ranges)
    assert kept == len(ranges)
    assert len(text) <= MAX_CHARACTERS


def test_of_a_thousand_ranges_those_are_kept_that_fit() -> None:
    ranges = [(n * n, n * n + n) for n in range(2, 1000)]
    text, kept = encode(0, ranges, 200)
    assert 0 < kept < len(ranges)
    assert decode(text, 0) == ranges[:kept]
    assert len(encode(0, ranges[: kept + 1], 10_000)[0]) > 200


@given(maps(), st.integers(0, 2**62))
def test_a_map_of_another_offset_is_refused(written: tuple[int, Ranges], committed: int) -> None:
    base, ranges = written
    text, _ = encode(base, ranges)
    if text and committed != base:
        with pytest.raises(SkipMapError, match="belongs to offset"):
            decode(text, committed)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{}", "not written by"),
        ("p2:AAAA", "not written by"),
        ("p1:ä", "not valid base64"),
        ("p1:A", "not valid base64"),
        ("p1:", "checksum"),
        ("p1:AAAAAAAA", "checksum"),
        (packed(b"\x07abc"), "compression is unknown"),
        (packed(b"\x01abc"), "inflated"),
        (packed(b"\x01" + zlib.compress(b"\x01" * 3_000_000)), "too long"),
        (packed(b"\x01" + zlib.compress(b"\x01" * 30)[:-5]), "truncated"),
        (packed(b"\x01" + zlib.compress(b"")), "no base"),
        (packed(b"\x00" + b"\xff" * 11), "too large"),
        (packed(b"\x00\x05\x81"), "inside a number"),
        (packed(b"\x00\x05\x01"), "no length"),
        (packed(b"\x00\x05\x01\x00"), "empty"),
    ],
)
def test_an_invalid_map_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(SkipMapError, match=why):
        decode(text, 5)


def test_no_metadata_is_an_empty_map() -> None:
    assert decode("", 5) == []


@given(st.text(max_size=50))
def test_any_text_is_a_map_or_a_refusal(text: str) -> None:
    for candidate in (text, "p1:" + text):
        try:
            decode(candidate, 0)
        except SkipMapError:
            continue
        assert candidate == ""
