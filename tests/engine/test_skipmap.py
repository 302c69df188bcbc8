from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engine.offsets import Progress
from processor.engine.skipmap import (
    BASE_CHARACTERS,
    CHUNK,
    MAX_CHARACTERS,
    MOST_RANGES,
    SkipMapError,
    base_of,
    decode,
    encode,
    encode_base,
    extend,
)
from tests.engine.first_version import packed, version_1

Ranges = list[tuple[int, int]]


@st.composite
def maps(draw: st.DrawFn) -> tuple[int, Ranges]:
    """A base, and ascending ranges above it that do not touch: scattered, dense and long ones alternate."""
    base = end = draw(st.integers(0, 2**62))
    ranges: Ranges = []
    for longest_gap, longest, count in draw(
        st.lists(
            st.tuples(st.sampled_from((1, 2, 300)), st.sampled_from((1, 2, 300)), st.integers(0, CHUNK + 9)), max_size=2
        )
    ):
        chance = draw(st.randoms(use_true_random=False))
        for _ in range(count):
            low = end + chance.randint(1, longest_gap)
            end = low + chance.randint(1, longest)
            ranges.append((low, end))
    return base, ranges


def deflated(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return b"\x01" + deflater.compress(body) + deflater.flush()


def scattered(share: float) -> Ranges:
    """Of 400,000 offsets, this share is unsettled, at random."""
    chance = random.Random(1)
    unsettled = (0, *(offset for offset in range(1, 400_000) if chance.random() < share))
    return Progress(0, unsettled, 400_000, ()).settled_ranges()


@given(maps())
def test_a_map_round_trips(written: tuple[int, Ranges]) -> None:
    base, ranges = written
    text, kept = encode(base, ranges, limit=100_000)
    assert kept == len(ranges)
    assert decode(text, base) == ranges


@given(maps())
def test_the_base_of_a_map_is_read_without_its_ranges(written: tuple[int, Ranges]) -> None:
    base, ranges = written
    assert base_of(encode(base, ranges, limit=100_000)[0]) == (base if ranges else None)
    assert base_of(version_1(base, ranges)) == (base if version_1(base, ranges) else None)
    assert base_of("") is None


@given(st.integers(0, 2**63 - 1))
def test_a_map_without_ranges_has_its_base_offset(base: int) -> None:
    text = encode_base(base)
    assert len(text) <= BASE_CHARACTERS
    assert (base_of(f"{text};+7"), decode(text, base)) == (base, [])


@given(maps())
def test_a_map_of_the_first_version_is_still_read(written: tuple[int, Ranges]) -> None:
    base, ranges = written
    assert decode(version_1(base, ranges), base) == ranges


@pytest.mark.parametrize(
    ("text", "base", "ranges"),
    [
        ("p1:-7ceWQAFAgI", 5, [(7, 9)]),
        ("p1:Je0zOAF4nGNnZOJAgwADjABb", 7, [(8 + 10 * n, 10 + 10 * n) for n in range(9)]),
    ],
)
def test_recorded_maps_of_the_first_version_are_decoded_exactly(text: str, base: int, ranges: Ranges) -> None:
    assert decode(text, base) == ranges


def test_a_map_is_encoded_as_its_format_specifies() -> None:
    assert encode(5, [(7, 9)]) == (packed(b"\x00" + bytes([5, 4 * 2 + 1, 0, 2]), 2), 1)


@given(maps(), st.integers(0, 2000))
def test_a_map_that_does_not_fit_keeps_the_nearest(written: tuple[int, Ranges], limit: int) -> None:
    base, ranges = written
    text, kept = encode(base, ranges, limit)
    assert len(text) <= limit
    assert decode(text, base) == ranges[:kept]


@given(maps(), st.data(), st.integers(0, 2000))
def test_an_extended_map_keeps_its_known_ranges_and_the_nearest_others(
    written: tuple[int, Ranges], data: st.DataObject, limit: int
) -> None:
    base, ranges = written
    known = data.draw(st.lists(st.sampled_from(ranges), unique=True, max_size=200) if ranges else st.just([]))
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


def test_an_extended_map_has_room_for_further_ranges() -> None:
    ranges = [(n * n, n * n + n) for n in range(2, 300)]
    known = [(900, 901)]
    extended = extend(0, ranges, known, 40)
    assert extended is not None
    text, kept = extended
    assert (kept[0], kept[-1], len(text) <= 40) == ((4, 6), (900, 901), True)
    assert extend(0, ranges, known, 10) is None
    assert extend(0, ranges, [], 0) == ("", [])


def test_a_known_range_that_the_commit_point_has_entered_is_not_forgotten() -> None:
    """After a restart, the commit point moves through it, since everything before it is settled."""
    assert extend(5, [(5, 9)], [(4, 9)], 0) is None
    extended = extend(5, [(5, 9), (10, 12)], [(4, 9)])
    assert extended is not None
    assert (decode(extended[0], 5), extended[1]) == ([(5, 9), (10, 12)],) * 2


def test_one_stuck_task_with_a_million_done_behind_it_is_one_short_range() -> None:
    text, _ = encode(10**12, [(10**12 + 1, 10**12 + 1_000_001)])
    assert len(text) < 40


def test_every_second_one_of_ten_thousand_fits() -> None:
    ranges = [(n, n + 1) for n in range(1, 10_000, 2)]
    text, kept = encode(0, ranges)
    assert kept == len(ranges)
    assert len(text) <= MAX_CHARACTERS


@pytest.mark.parametrize(
    ("share", "ranges"),
    [(0.5, 5_700), (0.3, 5_300), (0.7, 5_300), (0.1, 4_300), (0.9, 4_300), (0.02, 3_000), (0.98, 3_000)],
)
def test_as_much_fits_as_the_entropy_of_scattered_tasks_nearly_allows(share: float, ranges: int) -> None:
    """The former version had room for 4,600, 4,200, 3,300 and 2,400 of these."""
    settled = scattered(share)
    text, kept = encode(0, settled)
    assert kept > ranges
    assert len(text) <= MAX_CHARACTERS
    assert decode(text, 0) == settled[:kept]


def test_a_pattern_that_deflates_well_is_cut_so_that_its_time_is_bounded() -> None:
    settled = [(offset, offset + 1) for offset in range(1, 4 * MOST_RANGES, 2)]
    text, kept = encode(0, settled)
    assert kept == MOST_RANGES
    assert decode(text, 0) == settled[:kept]


@pytest.mark.parametrize("longest", [1, 300, 2**40])
def test_the_longest_map_can_be_read_for_any_numbers(longest: int) -> None:
    settled = [(n * 2 * longest + longest, (n + 1) * 2 * longest) for n in range(MOST_RANGES)]
    text, kept = encode(0, settled)
    assert decode(text, 0) == settled[:kept]


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
        ("p3:AAAA", "not written by"),
        ("p2:AAAA", "checksum"),
        ("p1:ä", "not valid base64"),
        ("p1:A", "not valid base64"),
        ("p1:", "checksum"),
        ("p1:AAAAAAAA", "checksum"),
        (packed(b"\x07abc"), "compression is unknown"),
        (packed(b"\x01abc"), "inflated"),
        (packed(b"\x01" + zlib.compress(b"\x01" * 5_000_000)), "too long"),
        (packed(b"\x01" + zlib.compress(b"\x01" * 30)[:-5]), "truncated"),
        (packed(b"\x01" + zlib.compress(b"")), "no base"),
        (packed(b"\x00" + b"\xff" * 11), "too large"),
        (packed(b"\x00\x05\x81"), "inside a number"),
        (packed(b"\x00\x05\x01"), "no length"),
        (packed(b"\x00\x05\x01\x00"), "empty"),
        (packed(b"\x01" + zlib.compress(b"\x05"), 2), "inflated"),
        (packed(deflated(b"\x01" * 5_000_000), 2), "too long"),
        (packed(deflated(b"\x05\x05\x01" * 9)[:-5], 2), "truncated"),
        (packed(deflated(b""), 2), "no base"),
        (packed(b"\x00\x05\x05", 2), "a chunk in it is empty, or truncated"),
        (packed(b"\x00\x05\x01", 2), "a chunk in it is empty, or truncated"),
        (packed(b"\x00\x05\x09\x01", 2), "a chunk in it is empty, or truncated"),
        (packed(b"\x00\x05\x07\x01", 2), "the kind of a chunk in it is unknown"),
        (packed(b"\x00\x05\x04\x01", 2), "no length"),
        (packed(b"\x00\x05\x08\x01\x00", 2), "empty"),
    ],
)
def test_an_invalid_map_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(SkipMapError, match=why):
        decode(text, 5)


def test_no_metadata_is_an_empty_map() -> None:
    assert decode("", 5) == []


@given(st.binary(max_size=50), st.sampled_from((1, 2)))
def test_any_numbers_are_ascending_ranges_or_a_refusal(numbers: bytes, version: int) -> None:
    try:
        ranges = decode(packed(b"\x00" + bytes([5]) + numbers, version), 5)
    except SkipMapError:
        return
    bounds = [5, *(offset for low_high in ranges for offset in low_high)]
    assert bounds == sorted(bounds)
    assert all(low < high for low, high in ranges)


@given(st.text(max_size=50))
def test_any_text_is_a_map_or_a_refusal(text: str) -> None:
    for candidate in (text, "p1:" + text, "p2:" + text):
        try:
            decode(candidate, 0)
        except SkipMapError:
            continue
        assert candidate == ""
