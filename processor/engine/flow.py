"""Fairness between partitions: how much of each is fetched, and how much of each is admitted.

Two stores lie between the broker and the workers. The *stock* contains the records that were fetched but are not
admitted yet. Admitted records are *in flight*: they are in lanes, their offsets are recorded, and `--max-in-flight`
limits them; delayed tasks have separate limits (`without_delayed`). Each store has a rule:

- `Admission` shares the room in flight evenly. Each partition has a part that no other may use, and the common rest
  goes to those that hold least (max-min fairness: D. Bertsekas, R. Gallager, "Data Networks", 2nd edition, 6.5.2).
  `Filling` decides when.
- `Fetching` pauses a partition that fills the stock while another one has nothing in it. The limit of a partition is
  the room that is left (the dynamic threshold of A. Choudhury, E. Hahne, "Dynamic queue length thresholds for
  shared-memory packet switches", 1998, with a factor of 1): a lone backlog gets half, and a quiet partition finds room.
  Of many partitions with a backlog, each has a small part, and all together fill the stock. Then each one above its
  equal part is paused, and those that have nothing are fetched beyond the limit, up to `MOST`.

A pause makes the client drop what it has fetched ahead, and a new fetch takes a while. So a partition is paused only
if its stock lasts for longer than that. If it does not, its records are processed so fast that nothing waits long
behind them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from math import inf
from typing import Generic, NamedTuple, TypeVar

from processor.engine.stock import Usage

RESERVED = 0.5
"""The fraction of what may be in flight that is divided into equal shares; the rest is common."""

PAUSE_SECONDS = 1.0
"""A partition is paused only if its stock lasts at least this long at the rate at which it is processed."""

RESUME_SECONDS = 0.75
"""A paused partition is resumed when its stock lasts only this long. The client fetches it once the fetch that waits at
the broker has returned, after `fetch.wait.max.ms`: half a second by default."""

RESUME = 0.25
"""It is resumed at the latest when this fraction is left of the stock that it had when it was paused. It is not resumed
much earlier, since the rarer a pause, the less is fetched twice."""

GO_ON = 0.9
"""A stock that was full is filled again once it is down to this fraction of its limit."""

SPARE = 0.1
"""The fraction of the stock that is kept for partitions that are not paused, however much the paused ones have; half of
it for a single one."""

MOST = 2.0
"""The stock grows to at most this multiple of its limit. The data that a fetch returns for one partition cannot be made
smaller, and for fifty partitions it exceeds the limit: without the excess, the last ones would begin only when the
first ones end."""

HOLD_SECONDS = 2.0
"""Once the stock has been full for this long, all its partitions are paused, so that a poll returns no record."""

RATE_SECONDS = 0.1
"""The shortest time over which a rate is measured."""

FILL = 0.25
"""Records are admitted once this fraction of those in flight is settled."""

FILL_ONE = 0.5
"""They are also admitted once this fraction of one partition's tasks is settled, if the stock has more of them."""

FILL_SECONDS = 0.05
"""They are admitted after this many seconds at the latest. With many partitions, `FILL_SECONDS_EACH` is longer."""

FILL_SECONDS_EACH = 0.0005
"""The same for each partition in the stock. A filling takes some 15 µs of CPU for each, and meanwhile no worker has the
interpreter."""

LONGEST_FILL_SECONDS = 0.2
"""However many partitions there are, records are admitted after this many seconds."""

TAKE = 1000
"""The most records to take from the client at once while tasks are short. No-op tasks on 64 threads, measured together:
270,000 a second with 500, 355,000 with 1,000, 290,000 with 2,000. With fewer, each session has short runs; with more,
the client creates all of them in one go under the interpreter's lock, while no worker runs."""

LARGE_TAKE = 4000
"""The same while tasks are long, if ten times as many may be in flight. Many workers may wait for the interpreter then,
and the poller waits for all of them several times for each take. With 64 workers on tasks of 1 ms and 200,000 records
to fetch, larger takes let a consumer fetch them in a fraction of the time: an urgent task that came meanwhile waited
0.06 to 0.26 s (p99) instead of 2.2 to 4.9 s. With the default of 10,000 in flight, they would fill the stock with the
partitions that are fetched first: in one run of five, a sixth partition had nothing when 3,000 tasks were done."""

LONG_TASK_SECONDS = 0.001
"""Tasks that take more than this are long. It is what `Pace` assumes before any task has ended."""

P = TypeVar("P", bound=Hashable)


def take_size(task_seconds: float, max_in_flight: int) -> int:
    """Return the most records to take from the client at once.

    Args:
        task_seconds: how long a task takes.
        max_in_flight: how many tasks may be in flight.
    """
    if task_seconds <= LONG_TASK_SECONDS:
        return TAKE
    return min(max(TAKE, max_in_flight // 10), LARGE_TAKE)


class Admission(Generic[P]):
    """Decides how many tasks of each partition may be admitted, within limits of tasks and bytes in flight."""

    __slots__ = ("_limits",)

    def __init__(self, limits: Usage) -> None:
        self._limits = limits

    def quotas(self, in_flight: Mapping[P, Usage], stock: Mapping[P, Usage]) -> dict[P, int]:
        """Return how many tasks of each partition in `stock` may be admitted now. Partitions with none are left out.

        A partition that holds less than its share may always fill it. One that holds nothing gets one task at least,
        however large.

        Args:
            in_flight: what is in flight of each assigned partition.
            stock: what waits in the stock, of each partition that has anything there.
        """
        held = {partition: _part(usage, self._limits) for partition, usage in in_flight.items()}
        share = RESERVED / max(1, len(held))
        kept = sum(max(0.0, share - part) for partition, part in held.items() if partition not in stock)
        level = self._level(held, stock, 1.0 - kept)
        quotas = {}
        for partition, usage in stock.items():
            part = held[partition]
            room = max(level, share) - part
            each = _part(usage, self._limits) / usage.tasks if usage.tasks else 1.0
            count = min(usage.tasks, int(room / each + 1e-9)) if room > 0.0 else 0
            if count or (not part and usage.tasks):
                quotas[partition] = max(1, count)
        return quotas

    @staticmethod
    def _level(held: Mapping[P, float], stock: Mapping[P, Usage], room: float) -> float:
        """Return the part of the limits up to which partitions with stock are filled, so that `room` is used."""
        parts = sorted(held[partition] for partition in stock)
        room -= sum(part for partition, part in held.items() if partition not in stock)
        above = sum(parts)
        level = 0.0
        for count, part in enumerate(parts, 1):
            above -= part
            level = (room - above) / count
            if count < len(parts) and level <= parts[count]:
                break
        return level


def without_delayed(in_flight: Mapping[P, Usage], delayed: Mapping[P, Usage], limits: Usage) -> Mapping[P, Usage]:
    """Return what counts as in flight if some of it is `delayed`: it waits for the time at which it may begin.

    Delayed tasks have separate limits of the same size: otherwise many of them would keep all others from
    being admitted. If they exceed these, each partition's part of the excess counts.
    """
    tasks, size = sum(usage.tasks for usage in delayed.values()), sum(usage.bytes for usage in delayed.values())
    free = 1.0 / max(1.0, tasks / limits.tasks, size / limits.bytes)
    counted = dict(in_flight)
    for partition, usage in delayed.items():
        held = in_flight[partition]
        counted[partition] = Usage(held.tasks - int(usage.tasks * free), held.bytes - int(usage.bytes * free))
    return counted


class Filling(Generic[P]):
    """Decides when to fill up what is in flight from the stock, while lanes wait for a worker. If none waits, filling
    is due at once.

    Each filling has a fixed cost, however much it admits, and workers wait meanwhile for the interpreter's lock. With
    a filling every 5 ms, 64 workers on tasks of 1 ms did a tenth less.
    """

    __slots__ = ("_level", "_levels", "_next")

    def __init__(self) -> None:
        self._level = 0
        self._levels: dict[P, int] = {}
        self._next = -inf

    def is_due(self, in_flight: Mapping[P, int], stocked: Iterable[P], now: float) -> bool:
        """Return whether to fill: enough is settled, in all or in one partition; there is new stock; or it is time.

        Args:
            in_flight: how many tasks are in flight of each assigned partition.
            stocked: the partitions in the stock.
            now: in seconds of the monotonic clock.
        """
        if now >= self._next or sum(in_flight.values()) <= self._level:
            return True
        levels = self._levels
        return any(partition not in levels or in_flight[partition] <= levels[partition] for partition in stocked)

    def note(self, in_flight: Mapping[P, Usage], stock: Mapping[P, Usage], quotas: Mapping[P, int], now: float) -> None:
        """Notes a filling, which admits `quotas` of the stock in addition to what is in flight."""
        self._next = now + min(LONGEST_FILL_SECONDS, max(FILL_SECONDS, len(stock) * FILL_SECONDS_EACH))
        self._level = int((sum(usage.tasks for usage in in_flight.values()) + sum(quotas.values())) * (1.0 - FILL))
        self._levels = {
            partition: int((in_flight[partition].tasks + quotas.get(partition, 0)) * (1.0 - FILL_ONE))
            for partition, usage in stock.items()
            if usage.tasks > quotas.get(partition, 0)
        }


class Verdict(NamedTuple, Generic[P]):
    """What to do about fetching."""

    take: bool
    """Whether to ask the client for records now."""
    pause: list[P]
    resume: list[P]


class Fetching(Generic[P]):
    """Decides which partitions are fetched, within limits of tasks and bytes in the stock."""

    __slots__ = ("_full_since", "_is_full", "_limits", "_paused_at", "_rates", "_seen", "_seen_at")

    def __init__(self, limits: Usage) -> None:
        self._limits = limits
        self._is_full = False
        self._full_since: float | None = None
        self._paused_at: dict[P, float] = {}
        self._rates: dict[P, float] = {}
        self._seen: dict[P, int] = {}
        self._seen_at: float | None = None

    @property
    def paused(self) -> frozenset[P]:
        """The partitions that are paused."""
        return frozenset(self._paused_at)

    @property
    def is_calm(self) -> bool:
        """Whether nothing is paused and the stock was not full. Then an empty stock needs no decision."""
        return not self._paused_at and not self._is_full

    def forget(self, partition: P) -> None:
        """Forgets a partition that no longer belongs to this consumer."""
        for table in (self._paused_at, self._rates, self._seen):
            table.pop(partition, None)

    def decide(
        self, stock: Mapping[P, Usage], taken: Mapping[P, int], now: float, *, assigned: int, drained: bool
    ) -> Verdict[P]:
        """Return whether to take records now, and which partitions to pause and to resume.

        Args:
            stock: what waits in the stock, of each partition that has anything there.
            taken: how many tasks left the stock of each partition since it was assigned.
            now: in seconds of the monotonic clock.
            assigned: how many partitions are assigned.
            drained: whether the client has handed over all that it had fetched. A pause would drop what is left.
        """
        self._measure(taken, now)
        most_tasks, most_bytes = self._limits
        parts = {partition: max(tasks / most_tasks, size / most_bytes) for partition, (tasks, size) in stock.items()}
        resume = [p for p, at in self._paused_at.items() if self._lasts_no_longer(p, stock, parts.get(p, 0.0), at)]
        for partition in resume:
            del self._paused_at[partition]
        fetched = [p for p in stock if p not in self._paused_at]
        # The others have nothing in the stock. Their records may wait in the client, behind those of `fetched`.
        is_any_empty = len(fetched) + len(self._paused_at) < assigned
        pause = self._over(fetched, stock, parts, assigned) if is_any_empty and (drained or self._is_full) else []
        if self._full_since is not None and now - self._full_since > HOLD_SECONDS:
            pause = fetched
        self._paused_at.update((partition, parts[partition]) for partition in pause)
        self._fill(parts, now)
        return Verdict(not self._is_full, pause, resume)

    def _lasts_no_longer(self, partition: P, stock: Mapping[P, Usage], part: float, at: float) -> bool:
        if part <= at * RESUME:
            return True
        return stock[partition].tasks <= self._rates.get(partition, 0.0) * RESUME_SECONDS

    def _over(self, fetched: list[P], stock: Mapping[P, Usage], parts: Mapping[P, float], assigned: int) -> list[P]:
        """Return the partitions that have more than is left, and enough to be paused."""
        left = max(min(SPARE / 2, 1.0 / assigned), 1.0 - sum(parts.values()))
        lasting = [p for p in fetched if stock[p].tasks > self._rates.get(p, 0.0) * PAUSE_SECONDS]
        return [partition for partition in lasting if parts[partition] > left]

    def _fill(self, parts: Mapping[P, float], now: float) -> None:
        """Notes whether the stock is full. Tasks of paused partitions may never be done: others use the room left."""
        paused = sum(parts.get(partition, 0.0) for partition in self._paused_at)
        room = max(SPARE, 1.0 - paused)
        used = sum(parts.values()) - paused
        hysteresis = GO_ON if self._is_full else 1.0
        self._is_full = used >= room * hysteresis or used + paused >= MOST * hysteresis
        if not self._is_full:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = now

    def _measure(self, taken: Mapping[P, int], now: float) -> None:
        """Updates how many tasks a second leave each partition's stock: the mean of the former rate and the new one."""
        if self._seen_at is None:
            self._seen_at = now
        seconds = now - self._seen_at
        if seconds < RATE_SECONDS:
            return
        self._seen_at = now
        for partition, count in taken.items():
            rate = (count - self._seen.get(partition, 0)) / seconds
            self._rates[partition] = (self._rates.get(partition, rate) + rate) / 2
            self._seen[partition] = count


def _part(usage: Usage, limits: Usage) -> float:
    """Return the usage as a fraction of the limits: of tasks or of bytes, whichever is larger."""
    return max(usage.tasks / limits.tasks, usage.bytes / limits.bytes)
