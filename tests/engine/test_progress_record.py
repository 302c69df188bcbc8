"""Skip maps as records: references that are followed, and those that are not trusted."""

from __future__ import annotations

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.engine import skipmap
from processor.engine.commit_note import Note
from processor.engine.progress_record import (
    Reference,
    keys_of,
    longest_reference,
    next_key,
    noted_until,
    reference_in,
    reference_to,
    settled_in,
)
from processor.engine.skipmap import (
    SkipMapError,
    decode,
    decode_record,
    encode,
    encode_base,
    encode_record,
)

OFFSETS = st.integers(0, 2**63 - 1)
REFERENCES = st.builds(
    Reference,
    st.text("abc.-_0ü", min_size=1, max_size=249),
    st.integers(0, 2**31 - 1),
    OFFSETS,
    OFFSETS,
    st.integers(0, 2**32 - 1),
)
KEYS = keys_of("g", "t", 3)
KEY = KEYS[0]
VALUE, _ = encode_record(5, [(7, 9), (12, 20)])
REFERENCE = reference_to("progress", 0, 44, 5, VALUE)


MAP = encode(5, [(7, 9)])[0]


def quoted(body: bytes) -> str:
    return "r1:" + base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4) + body).decode().rstrip("=")


@given(REFERENCES, st.none() | st.builds(Note, st.integers(0, 99), st.integers(0, 10**11)))
def test_a_reference_comes_back_as_it_was_with_a_note_behind_it(reference: Reference, note: Note | None) -> None:
    text = str(reference)
    assert len(text) <= longest_reference(reference.topic)
    assert text.isascii()
    assert reference_in(f"{text}{note or ''}", reference.base) == reference


@pytest.mark.parametrize("text", [MAP, encode_base(5), str(REFERENCE)])
@pytest.mark.parametrize("note", ["", ";4@9"])
def test_how_far_every_task_is_settled_is_noted_behind_a_map_or_a_reference_of_the_same_offset(
    text: str, note: str
) -> None:
    assert noted_until(f"{text};+12{note}", 5) == 17
    assert noted_until(f"{text}{note}", 5) is None
    assert noted_until(f"{text};+12{note}", 6) is None


@pytest.mark.parametrize("text", ["", "p2:", "theirs", "r1:", MAP[:-1]])
def test_a_note_behind_other_metadata_is_ignored(text: str) -> None:
    assert noted_until(f"{text};+12", 5) is None


@given(REFERENCES, OFFSETS)
def test_a_reference_of_another_offset_is_refused(reference: Reference, committed: int) -> None:
    if committed != reference.base:
        with pytest.raises(SkipMapError, match="belongs to offset"):
            reference_in(str(reference), committed)


@pytest.mark.parametrize("metadata", ["", "theirs", "p1:AAAA", "r2:AAAA", ";4@1", encode(5, [(7, 9)])[0]])
def test_other_metadata_has_no_reference(metadata: str) -> None:
    assert reference_in(metadata, 5) is None


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ("r1:", "checksum"),
        ("r1:A", "not valid base64"),
        ("r1:%%%", "not valid base64"),
        ("r1:AAAAAAAA", "checksum"),
        (str(REFERENCE)[:-4], "checksum"),
        (quoted(b"\x05\x00"), "incomplete"),
        (quoted(b"\x05\x00\x01" + b"\xff" * 11), "incomplete"),
        (quoted(b"\x05\x00\x01\x02\xff"), "incomplete"),
    ],
)
def test_a_damaged_reference_is_refused_with_its_reason(metadata: str, why: str) -> None:
    with pytest.raises(SkipMapError, match=why):
        reference_in(metadata, 5)


@given(st.text(max_size=40), st.binary(max_size=40))
def test_any_text_is_a_reference_or_none_or_a_refusal(text: str, body: bytes) -> None:
    for metadata in (text, "r1:" + text, quoted(body)):
        try:
            reference_in(metadata, 0)
        except SkipMapError:
            continue


def test_a_consumer_that_does_not_know_references_ignores_them() -> None:
    with pytest.raises(SkipMapError, match="not written by this version"):
        decode(str(REFERENCE), 5)


@pytest.mark.parametrize("key", KEYS)
def test_the_record_at_the_reference_has_the_ranges(key: bytes) -> None:
    assert settled_in(REFERENCE, KEYS, key, VALUE) == [(7, 9), (12, 20)]


def test_a_record_never_has_the_key_of_the_one_that_is_committed() -> None:
    assert KEYS == [b'["g","t",3]', b'["g","t",3,1]']
    assert [next_key(KEYS, committed) for committed in (None, KEYS[1], KEYS[0])] == [KEYS[0], KEYS[0], KEYS[1]]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, VALUE),
        (keys_of("other", "t", 3)[0], VALUE),
        (keys_of("g", "u", 3)[1], VALUE),
        (keys_of("g", "t", 4)[0], VALUE),
        (KEY, None),
        (KEY, b""),
        (KEY, VALUE + b"x"),
        (KEY, encode_record(5, [(7, 9), (12, 21)])[0]),
    ],
)
def test_another_record_is_not_trusted(key: bytes | None, value: bytes | None) -> None:
    with pytest.raises(SkipMapError, match="it refers to the place of another record"):
        settled_in(REFERENCE, KEYS, key, value)


def test_a_value_of_another_program_is_refused() -> None:
    with pytest.raises(SkipMapError, match="it was not written by this version of this program"):
        decode_record(b"theirs", 5)


def test_a_reference_is_not_longer_than_the_longest_of_its_topic() -> None:
    assert len(str(REFERENCE)) <= longest_reference(REFERENCE.topic)


def test_a_map_with_another_base_is_not_trusted_though_its_checksum_is_right() -> None:
    value, _ = encode_record(6, [(7, 9)])
    with pytest.raises(SkipMapError, match="belongs to offset 6"):
        settled_in(reference_to("progress", 0, 44, 5, value), KEYS, KEY, value)


def test_keys_of_groups_topics_and_partitions_differ() -> None:
    names = [(group, topic, number) for group in ("g", 'g",', "gt") for topic in ("t", "1") for number in (1, 11)]
    assert len({key for each in names for key in keys_of(*each)}) == 24


# --- values -------------------------------------------------------------------------------------------


@given(st.integers(0, 2**62), st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 2000)), max_size=100))
def test_a_value_comes_back_as_it_was(base: int, steps: list[tuple[int, int]]) -> None:
    ranges, end = [], base
    for gap, length in steps:
        ranges.append((end + gap, end + gap + length))
        end += gap + length
    value, kept = encode_record(base, ranges)
    assert kept == len(ranges)
    assert (decode_record(value, base) if value else []) == ranges
    limit = len(value) // 2
    shorter, kept = encode_record(base, ranges, limit)
    assert len(shorter) <= limit
    assert (decode_record(shorter, base) if shorter else []) == ranges[:kept]


def test_a_value_has_a_bounded_number_of_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skipmap, "RECORD_RANGES", 5_000)
    ranges = [(offset, offset + 1) for offset in range(1, 12_000, 2)]
    value, kept = encode_record(0, ranges)
    assert kept == 5_000
    assert decode_record(value, 0) == ranges[:kept]


@given(st.binary(max_size=60))
def test_any_value_is_a_map_or_a_refusal(value: bytes) -> None:
    for candidate in (value, b"p2:" + value, b"p2:" + zlib.crc32(value).to_bytes(4) + value):
        try:
            decode_record(candidate, 0)
        except SkipMapError:
            continue
