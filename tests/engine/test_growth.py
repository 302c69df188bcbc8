"""When a new partition may begin: single decisions, and a model of producers and consumers that come and go."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from processor.engine.extents import Extent, Extents, extent_of
from processor.engine.growth import (
    ASK_SECONDS,
    ASK_SHARE,
    HELD,
    LONGEST_ASK_SECONDS,
    WATCH_SECONDS,
    Begin,
    Decision,
    Grown,
    Growth,
    Hold,
    Open,
    Uneven,
)
from processor.engine.skipmap import encode_base

T = "t"


def topic(*committed: int | None, ends: int = 10, begun_with: int | None = None) -> dict[int, Extent]:
    """A topic whose partitions end at `ends`, and what the group has committed of each."""
    return {
        n: Extent(0, ends, offset, begun_with if offset is not None else None) for n, offset in enumerate(committed)
    }


def answers(growth: Growth, found: Mapping[int, Extent], now: float = 0.0) -> list[Decision]:
    """Ask, and answer with the state of this topic."""
    assert growth.question(now, []) == [T]
    return growth.answer({T: found}, now)


def predecessors(number: int, found: Mapping[int, Extent]) -> list[int]:
    return Extents(found).predecessors(number).among(found)


def added(*numbers: int) -> Growth:
    growth = Growth()
    for number in numbers:
        growth.add((T, number))
    return growth


# --- which partitions are new ------------------------------------------------------------------------


def test_a_group_that_has_committed_nothing_of_the_topic_begins_at_once() -> None:
    growth = added(0, 1)
    assert answers(growth, topic(None, None)) == [Begin((T, 0), 0, 2), Begin((T, 1), 0, 2)]
    assert not growth


def test_a_partition_that_was_there_when_the_group_began_is_not_new() -> None:
    assert answers(added(1), topic(5, None, begun_with=2)) == [Begin((T, 1), 0, 2)]


def test_a_partition_below_all_that_are_committed_is_not_new() -> None:
    assert answers(added(0), topic(None, 5)) == [Begin((T, 0), 0, None)]


def test_a_partition_beyond_those_with_which_the_group_began_is_new() -> None:
    growth = added(2)
    found = topic(5, 5, None, None, begun_with=2)
    assert answers(growth, found) == []
    (held,) = answers(growth, found)
    assert held == Hold((T, 2), {0: 10, 1: 10}, 4, 2)


def test_a_growth_that_does_not_multiply_the_partitions_is_uneven_whether_something_waits_for_it_or_not() -> None:
    growth = added(2)
    settled = {n: Extent(0, 10, 10) for n in range(2)} | {2: Extent(0, 3, None)}
    assert answers(growth, settled) == [Uneven(T, 2, 3)]
    assert answers(growth, settled) == [Open((T, 2), 0, 3)]


def test_an_uneven_growth_is_reported_once_in_a_survey_however_many_partitions_are_new() -> None:
    found = {n: Extent(0, 10, 10) for n in range(2)} | {n: Extent(0, 3, None) for n in range(2, 5)}
    assert answers(added(2, 3, 4), found) == [Uneven(T, 2, 5)]


def test_a_second_growth_is_uneven_if_it_does_not_multiply_what_the_first_one_left() -> None:
    growth = added(4)
    first = {n: Extent(0, 10, 10) for n in range(4)} | {n: Extent(0, 3, None) for n in range(4, 8)}
    assert answers(growth, first) == []
    assert answers(growth, first) == [Open((T, 4), 0, 3)]
    second = first | {n: Extent(0, 0, None) for n in range(8, 12)}
    assert growth.question(1.0, [(T, 4)]) == [T]
    assert growth.answer({T: second}, 1.0) == [Uneven(T, 8, 12)]


def test_a_group_that_has_committed_only_higher_partitions_begins_the_lower_ones_in_order() -> None:
    growth = added(0, 1)
    assert answers(growth, topic(None, None, 10)) == [Begin((T, 0), 0, None)]
    (held,) = answers(growth, topic(0, None, 10))
    assert held == Hold((T, 1), {0: 10}, 3, 1)
    assert answers(growth, topic(10, None, 10), 1.0) == [Open((T, 1), 0, 10)]


def test_nothing_is_called_uneven_while_the_count_before_is_not_known() -> None:
    assert answers(added(1), topic(None, None, 10)) == []


def test_a_partition_whose_commit_could_not_be_read_at_its_assignment_goes_on_where_the_group_is() -> None:
    growth = added(0, 1)
    found = topic(900, 5, ends=1000)
    assert answers(growth, found) == [Begin((T, 0), None, None), Begin((T, 1), None, None)]
    assert not growth


def test_a_watched_partition_whose_commit_could_not_be_read_at_its_assignment_is_watched_again() -> None:
    growth = added(1)
    found = {0: Extent(0, 10, 10), 1: Extent(0, 7, 3, 0)}
    assert answers(growth, found) == []
    assert growth.watched_until((T, 1)) == WATCH_SECONDS
    assert growth.question(0.0, [(T, 1)]) == [T]
    assert growth.answer({T: found}, 0.0) == [Open((T, 1), None, 7)]


def test_a_partition_has_what_its_commit_notes_until_the_time_of_the_note() -> None:
    metadata = f"{encode_base(5)};+2;4@100"
    assert extent_of(1, 9, 5, metadata, 99.0) == Extent(1, 9, 5, 4, 2)
    assert extent_of(1, 9, 5, metadata, 100.0) == Extent(1, 9, 5, None, 2)
    assert extent_of(1, 9, 6, metadata, 99.0) == Extent(1, 9, 6, 4, 0)  # copied to another offset
    assert extent_of(1, 9, None, "", 0.0) == Extent(1, 9, None)


# --- a cut -------------------------------------------------------------------------------------------


def test_a_new_partition_opens_once_the_ends_of_the_others_are_committed_up_to_the_end_that_it_had_before() -> None:
    growth = added(1)
    assert answers(growth, {0: Extent(0, 10, 4), 1: Extent(2, 3, None)}) == []
    (held,) = answers(growth, {0: Extent(0, 12, 4), 1: Extent(2, 5, None)})
    assert held == Hold((T, 1), {0: 12}, 2, 1)
    assert growth.topics == {T}
    assert growth.targets((T, 1)) == {0: 12}
    assert growth.start((T, 1)) == 2
    assert growth.question(ASK_SECONDS / 2, []) == []
    assert answers(growth, {0: Extent(0, 20, 11), 1: Extent(2, 5, None)}, 1.0) == []
    assert answers(growth, {0: Extent(0, 20, 12), 1: Extent(2, 9, None)}, 2.0) == [Open((T, 1), 2, 3)]
    assert growth.watched_until((T, 1)) == WATCH_SECONDS
    assert growth.targets((T, 1)) == {}
    assert growth.start((T, 1)) is None


def test_an_open_partition_is_queried_again_only_when_a_record_waits_at_its_gate() -> None:
    growth = added(1)
    settled = {0: Extent(0, 10, 10), 1: Extent(0, 3, None)}
    assert answers(growth, settled) == []
    assert answers(growth, settled) == [Open((T, 1), 0, 3)]
    assert growth.question(100.0, []) == []
    assert growth.question(100.0, [(T, 1)]) == [T]
    later = {0: Extent(0, 11, 10), 1: Extent(0, 7, 3)}
    assert growth.answer({T: later}, 100.0) == []  # its end was the gate until now
    assert growth.question(100.0, [(T, 1)]) == [T]
    assert growth.answer({T: later}, 100.0) == []
    assert growth.targets((T, 1)) == {0: 11}
    assert growth.question(101.0, [(T, 1)]) == [T]
    assert growth.answer({T: {0: Extent(0, 11, 11), 1: Extent(0, 8, 3)}}, 101.0) == [Open((T, 1), None, 7)]


def test_a_watch_ends_with_a_cut_that_is_made_after_its_time() -> None:
    growth = added(1)
    settled = {0: Extent(0, 0, 0), 1: Extent(0, 0, None)}
    answers(growth, settled)
    assert answers(growth, settled, 5.0) == [Open((T, 1), 0, 0)]
    over = WATCH_SECONDS
    assert growth.question(over - 1, []) == []
    assert answers(growth, {0: Extent(0, 9, 7), 1: Extent(0, 1, 0)}, over) == []
    assert growth.targets((T, 1)) == {0: 9}
    assert growth.watched_until((T, 1)) == over
    assert answers(growth, {0: Extent(0, 12, 9), 1: Extent(0, 1, 0)}, over + 1) == [Begin((T, 1), None, None)]
    assert not growth


def test_a_query_sent_before_the_end_of_the_watch_makes_no_last_cut() -> None:
    growth = added(1)
    settled = {0: Extent(0, 0, 0), 1: Extent(0, 0, None)}
    answers(growth, settled)
    assert answers(growth, settled, 5.0) == [Open((T, 1), 0, 0)]
    over = WATCH_SECONDS
    assert growth.question(over - 1, [(T, 1)]) == [T]
    assert growth.answer({T: settled}, over) == []
    assert answers(growth, settled, over + 1) == [Begin((T, 1), None, None)]


def test_a_watch_that_was_over_before_the_partition_changed_hands_has_its_last_cut_with_the_next_owner() -> None:
    growth = Growth()
    growth.watch((T, 1), 50.0)
    assert answers(growth, {0: Extent(0, 9, 7), 1: Extent(0, 3, 1)}, 100.0) == []
    assert answers(growth, {0: Extent(0, 9, 9), 1: Extent(0, 3, 1)}, 101.0) == [Begin((T, 1), None, None)]


def test_a_partition_that_is_held_for_longer_than_producers_need_has_its_last_cut_meanwhile() -> None:
    """Otherwise it would wait again, for what came to the old partitions after it began."""
    growth = added(1)
    answers(growth, {0: Extent(0, 9, 7), 1: Extent(0, 3, None)})
    (held,) = answers(growth, {0: Extent(0, 9, 7), 1: Extent(0, 3, None)})
    assert isinstance(held, Hold)
    assert answers(growth, {0: Extent(0, 20, 8), 1: Extent(0, 4, None)}, WATCH_SECONDS) == []
    assert growth.targets((T, 1)) == {0: 9}
    much_later = 10 * WATCH_SECONDS
    assert answers(growth, {0: Extent(0, 50, 9), 1: Extent(0, 8, None)}, much_later) == [Open((T, 1), 0, 3)]
    assert growth.targets((T, 1)) == {0: 20}
    assert answers(growth, {0: Extent(0, 60, 19), 1: Extent(0, 9, 3)}, much_later + 10) == []
    assert answers(growth, {0: Extent(0, 70, 20), 1: Extent(0, 9, 3)}, much_later + 20) == [Begin((T, 1), None, None)]


def test_a_partition_that_has_not_begun_when_its_last_cut_is_reached_begins_at_its_start_without_a_bound() -> None:
    growth = added(1)
    found = {0: Extent(0, 9, 7), 1: Extent(2, 3, None)}
    answers(growth, found)
    (held,) = answers(growth, found, WATCH_SECONDS)
    assert held == Hold((T, 1), {0: 9}, 2, 1)
    assert answers(growth, {0: Extent(0, 20, 9), 1: Extent(2, 4, None)}, WATCH_SECONDS + 1) == [Begin((T, 1), 2, None)]
    assert not growth


def test_a_watch_that_another_consumer_began_goes_on_with_nothing_open() -> None:
    growth = Growth()
    growth.watch((T, 1), 50.0)
    assert growth.question(0.0, []) == []
    found = {0: Extent(0, 10, 9), 1: Extent(0, 9, 6, begun_with=0)}
    assert growth.question(0.0, [(T, 1)]) == [T]
    assert growth.answer({T: found}, 0.0) == []
    assert growth.question(0.0, [(T, 1)]) == [T]
    assert growth.answer({T: found}, 0.0) == []
    assert growth.question(1.0, [(T, 1)]) == [T]
    assert growth.answer({T: {**found, 0: Extent(0, 10, 10)}}, 1.0) == [Open((T, 1), None, 9)]
    assert growth.watched_until((T, 1)) == 50.0


def test_a_watched_partition_without_predecessors_is_watched_no_more() -> None:
    growth = Growth()
    growth.watch((T, 0), 50.0)
    assert growth.question(0.0, [(T, 0)]) == [T]
    assert growth.answer({T: {0: Extent(0, 9, 6, begun_with=0)}}, 0.0) == [Begin((T, 0), None, None)]


# --- another growth ----------------------------------------------------------------------------------


def test_a_partition_of_a_second_growth_waits_for_the_one_of_the_first_that_its_sessions_come_from() -> None:
    found = topic(*[5] * 4, *[None] * 12)
    assert predecessors(12, found) == [0, 1, 2, 3, 4]
    assert predecessors(15, found) == [0, 1, 2, 3, 7]
    assert predecessors(7, topic(*[5] * 4, *[None] * 4)) == [0, 1, 2, 3]


def test_a_partition_that_is_watched_is_waited_for_only_by_those_that_sessions_move_to() -> None:
    found = {n: Extent(0, 10, 5, begun_with=0 if n >= 4 else None) for n in range(8)}
    assert predecessors(5, found) == [0, 1, 2, 3]


def test_a_second_growth_is_reported_once_and_what_it_brings_waits_for_what_is_held() -> None:
    growth = added(1)
    first = {0: Extent(0, 10, 4), 1: Extent(0, 6, None)}
    answers(growth, first)
    answers(growth, first)
    growth.add((T, 3))
    second = {**first, 2: Extent(0, 0, None), 3: Extent(0, 2, None)}
    assert answers(growth, second, 1.0) == [Grown(T, 2, 4)]
    (held,) = answers(growth, second, 2.0)
    assert held == Hold((T, 3), {0: 10, 1: 6}, 4, 1)


def test_a_second_growth_that_is_uneven_is_reported_as_both() -> None:
    growth = added(2, 3)
    first = {n: Extent(0, 10, 4) for n in range(2)} | {n: Extent(0, 3, None) for n in range(2, 4)}
    answers(growth, first)
    answers(growth, first)
    second = first | {n: Extent(0, 0, None) for n in range(4, 6)}
    assert list(map(repr, answers(growth, second, 1.0))) == [repr(Uneven(T, 4, 6)), repr(Grown(T, 4, 6))]


def test_a_partition_that_is_held_is_old_once_another_consumer_has_committed_it() -> None:
    growth = added(1)
    assert answers(growth, {0: Extent(0, 10, 4), 1: Extent(0, 3, None)}) == []
    (held,) = answers(growth, {0: Extent(0, 10, 4), 1: Extent(0, 3, 0)})
    assert held == Hold((T, 1), {0: 10}, 2, 0)


# --- questions ---------------------------------------------------------------------------------------


def test_no_query_is_sent_without_a_new_partition() -> None:
    assert Growth().question(0.0, []) == []


def test_one_query_is_sent_at_a_time_and_repeated_after_a_failure() -> None:
    growth = added(1)
    assert growth.question(0.0, []) == [T]
    assert growth.question(1.0, []) == []
    growth.fail(1.0)
    assert growth.question(1.0, []) == []
    assert growth.question(1.0 + ASK_SECONDS, []) == [T]


def test_a_partition_that_waits_for_long_is_queried_less_often_and_delays_no_query_about_another() -> None:
    growth = added(1)
    found = topic(5, None, ends=10)
    answers(growth, found)
    assert len(answers(growth, found)) == 1
    for waited in (ASK_SECONDS, 20.0, 100.0, 300.0):
        assert answers(growth, found, waited) == []
        pause = min(max(waited / ASK_SHARE, ASK_SECONDS), LONGEST_ASK_SECONDS)
        assert growth.question(waited + pause - 0.01, []) == []
        assert growth.question(waited + pause, []) == [T]
        growth.fail(waited)
    growth.add(("u", 1))
    assert growth.question(300.0, []) == ["u"]


def test_an_answer_is_ignored_for_a_partition_assigned_after_the_query() -> None:
    growth = added(1)
    assert growth.question(0.0, []) == [T]
    growth.forget([(T, 1)])
    growth.add((T, 1))
    assert growth.answer({T: topic(None, None)}, 0.0) == []
    assert growth


def test_a_partition_that_the_broker_does_not_know_yet_is_queried_again_later() -> None:
    growth = added(1)
    assert answers(growth, topic(5)) == []
    assert growth.question(0.0, []) == []
    assert growth.question(ASK_SECONDS, []) == [T]
    assert growth.answer({}, ASK_SECONDS) == []


def test_a_partition_that_is_given_up_delays_no_other() -> None:
    growth = added(1)
    found = {0: Extent(0, 10, 4), 1: Extent(0, 6, None)}
    answers(growth, found)
    answers(growth, found)
    assert answers(growth, {1: Extent(0, 6, None)}, 1.0) == [Open((T, 1), 0, 6)]


def test_a_partition_that_is_made_anew_is_waited_for_up_to_its_present_end() -> None:
    growth = added(1)
    found = {0: Extent(0, 1000, 4), 1: Extent(0, 6, None)}
    answers(growth, found)
    answers(growth, found)
    assert answers(growth, {0: Extent(0, 3, None), 1: Extent(0, 6, None)}, 1.0) == []
    assert growth.targets((T, 1)) == {0: 3}
    assert answers(growth, {0: Extent(0, 30, 3), 1: Extent(0, 6, None)}, 2.0) == [Open((T, 1), 0, 6)]


def test_nothing_is_known_of_other_partitions() -> None:
    growth = Growth()
    growth.forget([(T, 0)])
    assert growth.targets((T, 0)) == {}
    assert growth.watched_until((T, 0)) is None
    assert growth.start((T, 0)) is None


# --- its cost ----------------------------------------------------------------------------------------


class Counting(Mapping[int, Extent]):
    """A survey that counts how often a partition of it is looked at."""

    def __init__(self, found: Mapping[int, Extent]) -> None:
        self.looks = 0
        self._found = found

    def __getitem__(self, number: int) -> Extent:
        self.looks += 1
        return self._found[number]

    def __iter__(self) -> Iterator[int]:
        self.looks += len(self)
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def looks_at(partitions: int) -> list[int]:
    """Double a topic, and return how often a partition is looked at: until it is held, while it is, and at its end."""
    old, new = range(partitions // 2), range(partitions // 2, partitions)
    growth, looks = added(*new), list[int]()
    behind = {n: Extent(0, 10, 5) for n in old} | {n: Extent(0, 3, None) for n in new}
    settled = behind | {n: Extent(0, 10, 10) for n in old}
    for found, now, result in ((behind, 0.0, None), (behind, 0.0, Hold), (behind, 60.0, None), (settled, 120.0, Open)):
        survey = Counting(found)
        decisions = answers(growth, survey, now)
        assert {type(each) for each in decisions} == ({result} if result else set())
        assert len(decisions) == (len(new) if result else 0)
        looks.append(survey.looks)
    return looks


def test_the_cost_of_an_answer_is_proportional_to_the_number_of_partitions() -> None:
    for few, many in zip(looks_at(16), looks_at(256), strict=True):
        assert many <= 2 * 16 * few  # it may have had more counts before; the square would be 256 times as many


# --- the model ---------------------------------------------------------------------------------------

COUNTS = (1, 2, 4)
SESSIONS = 4
PRODUCERS = 2
CONSUMERS = 2


class Log:
    """One partition: its records as (session, number), its committed offset, and the note of that commit."""

    def __init__(self) -> None:
        self.records: list[tuple[int, int]] = []
        self.committed: int | None = None
        self.begun_with: int | None = None
        self.watched_until: float | None = None


class Owned:
    """A consumer's partition: its position, and its gate."""

    def __init__(self, log: Log) -> None:
        self.position = log.committed
        self.gate: float = HELD
        self.begun_with = log.begun_with
        self.watched_until = log.watched_until


class Growing(RuleBasedStateMachine):
    """Produce, learn of a growth late, grow, assign, revoke, crash, survey, work and commit, in any order.

    A session has one producer. A record may run only when all earlier records of its session that are in other
    partitions are committed: then not even a crash runs one of them again, behind it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.logs: dict[int, Log] = {}
        self.known = [1] * PRODUCERS
        self.produced: dict[int, int] = defaultdict(int)
        self.places: dict[tuple[int, int], tuple[int, int]] = {}
        self.growths = [Growth() for _ in range(CONSUMERS)]
        self.owned: list[dict[int, Owned]] = [{} for _ in range(CONSUMERS)]
        self.asked: list[list[int]] = [[] for _ in range(CONSUMERS)]
        """The partitions that a survey under way is to look at, in its order."""
        self.seen: list[dict[int, Extent]] = [{} for _ in range(CONSUMERS)]
        self.ran: set[tuple[int, int]] = set()

    @initialize(count=st.sampled_from(COUNTS[:2]))
    def create(self, count: int) -> None:
        self.logs = {number: Log() for number in range(count)}
        self.known = [count] * PRODUCERS
        for number in self.logs:
            self.take(number % CONSUMERS, number)
        for consumer in range(CONSUMERS):
            self.survey(consumer)
            self.commit(consumer)

    # --- the topic and its producers

    @rule(session=st.integers(0, SESSIONS - 1), count=st.integers(1, 3))
    def produce(self, session: int, count: int) -> None:
        number = session % self.known[session % PRODUCERS]
        for _ in range(count):
            record = session, self.produced[session]
            self.produced[session] += 1
            self.places[record] = number, len(self.logs[number].records)
            self.logs[number].records.append(record)

    @rule(producer=st.integers(0, PRODUCERS - 1))
    def learn(self, producer: int) -> None:
        self.known[producer] = len(self.logs)

    @precondition(lambda self: len(self.logs) < COUNTS[-1] and any(log.begun_with for log in self.logs.values()))
    @rule(data=st.data())
    def grow(self, data: st.DataObject) -> None:
        """Grow the topic; not before the group's first commit, since no order is guaranteed then."""
        count = data.draw(st.sampled_from([count for count in COUNTS if count > len(self.logs)]))
        self.logs.update({number: Log() for number in range(len(self.logs), count)})

    @precondition(lambda self: all(known == len(self.logs) for known in self.known))
    @rule()
    def wait(self) -> None:
        """Let time pass. Producers learn of a growth while it is watched."""
        self.now += WATCH_SECONDS

    # --- the group

    @rule(consumer=st.integers(0, CONSUMERS - 1), data=st.data())
    def assign(self, consumer: int, data: st.DataObject) -> None:
        free = sorted(self.logs.keys() - {number for owned in self.owned for number in owned})
        if free:
            few = st.lists(st.sampled_from(free), min_size=1, unique=True)
            for number in data.draw(st.just(free) | few):
                self.take(consumer, number)

    def take(self, consumer: int, number: int) -> None:
        log, growth = self.logs[number], self.growths[consumer]
        owned = self.owned[consumer][number] = Owned(log)
        if log.committed is None:
            growth.add((T, number))
        elif log.watched_until is not None:
            growth.watch((T, number), log.watched_until)
        else:
            owned.gate = float("inf")

    @rule(consumer=st.integers(0, CONSUMERS - 1), data=st.data(), crash=st.booleans())
    def give_up(self, consumer: int, data: st.DataObject, crash: bool) -> None:
        if self.owned[consumer]:
            for number in data.draw(st.lists(st.sampled_from(sorted(self.owned[consumer])), unique=True)):
                if not crash:
                    self.commit_partition(consumer, number)
                del self.owned[consumer][number]
                self.growths[consumer].forget([(T, number)])

    @rule(consumer=st.integers(0, CONSUMERS - 1))
    def commit(self, consumer: int) -> None:
        for number in self.owned[consumer]:
            self.commit_partition(consumer, number)

    def commit_partition(self, consumer: int, number: int) -> None:
        owned, log = self.owned[consumer][number], self.logs[number]
        if owned.position is not None:
            log.committed, log.begun_with, log.watched_until = owned.position, owned.begun_with, owned.watched_until

    # --- surveys: what is asked, what the broker finds meanwhile, and what follows

    @rule(consumer=st.integers(0, CONSUMERS - 1), chance=st.randoms(use_true_random=False))
    def ask(self, consumer: int, chance: random.Random) -> None:
        growth, owned = self.growths[consumer], self.owned[consumer]
        blocked = [(T, n) for n, each in owned.items() if each.gate < len(self.logs[n].records)]
        if growth.question(self.now, blocked):
            self.asked[consumer] = list(self.logs)
            chance.shuffle(self.asked[consumer])

    @rule(consumer=st.integers(0, CONSUMERS - 1), most=st.integers(1, COUNTS[-1]))
    def look(self, consumer: int, most: int) -> None:
        """A survey reads one partition after the other, in any order, and the others change meanwhile."""
        for number in self.asked[consumer][len(self.seen[consumer]) :][:most]:
            log = self.logs[number]
            is_watched = log.watched_until is not None and log.watched_until > self.now
            begun_with = 0 if is_watched else log.begun_with
            self.seen[consumer][number] = Extent(0, len(log.records), log.committed, begun_with)

    @rule(consumer=st.integers(0, CONSUMERS - 1))
    def answer(self, consumer: int) -> None:
        asked, found = self.asked[consumer], self.seen[consumer]
        if asked and len(found) == len(asked):
            self.asked[consumer], self.seen[consumer] = [], {}
            self.carry_out(consumer, self.growths[consumer].answer({T: found}, self.now))
            self.now += ASK_SECONDS

    @rule(consumer=st.integers(0, CONSUMERS - 1))
    def fail(self, consumer: int) -> None:
        """No broker answers."""
        if self.asked[consumer]:
            self.asked[consumer], self.seen[consumer] = [], {}
            self.growths[consumer].fail(self.now)
            self.now += ASK_SECONDS

    @rule(consumer=st.integers(0, CONSUMERS - 1))
    def survey(self, consumer: int) -> None:
        """A survey, or the rest of one, during which nothing changes."""
        self.ask(consumer, random.Random(0))
        self.look(consumer, COUNTS[-1])
        self.answer(consumer)

    def carry_out(self, consumer: int, decisions: list[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Begin((_, number), at, begun_with):
                    owned = self.owned[consumer][number]
                    owned.gate, owned.begun_with, owned.watched_until = float("inf"), begun_with, None
                    owned.position = at if at is not None else owned.position
                case Open((_, number), at, gate):
                    owned = self.owned[consumer][number]
                    assert gate > owned.gate
                    owned.gate = gate
                    if at is not None:
                        owned.position, owned.watched_until = at, self.growths[consumer].watched_until((T, number))

    # --- work

    @rule(consumer=st.integers(0, CONSUMERS - 1), most=st.integers(1, 4))
    def work(self, consumer: int, most: int) -> None:
        for number, owned in self.owned[consumer].items():
            records = self.logs[number].records
            while owned.position is not None and most and owned.position < min(owned.gate, len(records)):
                self.run(number, records[owned.position])
                owned.position += 1
                most -= 1

    def run(self, number: int, record: tuple[int, int]) -> None:
        session, index = record
        for earlier in range(index):
            place, offset = self.places[session, earlier]
            if place != number:
                committed = self.logs[place].committed
                assert committed is not None
                assert committed > offset, f"{record} in {number} overtakes {(session, earlier)} in {place}"
        self.ran.add(record)

    @invariant()
    def each_partition_has_one_consumer(self) -> None:
        assert not self.owned[0].keys() & self.owned[1].keys()

    def teardown(self) -> None:
        """Whatever happened, everything is worked off in the end."""
        for number in self.logs.keys() - self.owned[0].keys() - self.owned[1].keys():
            self.take(0, number)
        for _ in range(4 * len(self.logs) + 4):
            self.now += LONGEST_ASK_SECONDS
            for consumer in range(CONSUMERS):
                self.survey(consumer)
                self.survey(consumer)
                self.work(consumer, 10_000)
                self.commit(consumer)
        assert self.ran == self.places.keys()


TestGrowing = Growing.TestCase
TestGrowing.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


def test_a_cut_does_not_wait_for_arrivals_that_wait_for_other_branches() -> None:
    """Such a branch may be in the new partition."""
    growth = Growth()
    growth.add((T, 1))
    answers(growth, {0: Extent(0, 12, 4, kept=5), 1: Extent(2, 3, None)})
    (held,) = answers(growth, {0: Extent(0, 12, 4, kept=5), 1: Extent(2, 5, None)})
    assert isinstance(held, Hold)
    assert answers(growth, {0: Extent(0, 20, 4, kept=8), 1: Extent(2, 5, None)}, 1.0) == [Open((T, 1), 2, 3)]
