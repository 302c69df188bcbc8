"""`Frames`: what viewers get, and that none of them holds up another."""

from __future__ import annotations

import asyncio

from processor.observe.live.frames import Frames

SECONDS = 60.0


def test_a_viewer_gets_the_latest_frame_and_skips_those_in_between() -> None:
    async def scenario() -> None:
        frames = Frames()
        with frames.viewer():
            frames.publish({"a": "1"})
            first = await frames.after(0, SECONDS)
            assert first is not None
            frames.publish({"a": "2"})
            frames.publish({"a": "3"})
            latest = await frames.after(first.number, SECONDS)
            assert latest is not None
            assert latest.sections == {"a": "3"}

    asyncio.run(scenario())


def test_a_waiting_viewer_wakes_at_the_next_frame_and_at_the_end() -> None:
    async def scenario() -> None:
        frames = Frames()
        with frames.viewer():
            waiting = asyncio.create_task(frames.after(0, SECONDS))
            await asyncio.sleep(0)
            frames.publish({"a": "1"})
            found = await waiting
            assert found is not None
            waiting = asyncio.create_task(frames.after(found.number, SECONDS))
            await asyncio.sleep(0)
            frames.close()
            assert await waiting is None
            assert frames.is_closed

    asyncio.run(scenario())


def test_without_a_change_there_is_no_frame() -> None:
    async def scenario() -> None:
        frames = Frames()
        with frames.viewer():
            frames.publish({"a": "1"})
            first = await frames.after(0, SECONDS)
            assert first is not None
            frames.publish({"a": "1"})
            assert await frames.after(first.number, 0.0) is None

    asyncio.run(scenario())


def test_a_viewer_that_comes_later_does_not_see_how_things_were() -> None:
    async def scenario() -> None:
        frames = Frames()
        frames.publish({"a": "0"})
        with frames.viewer():
            assert await frames.after(0, 0.0) is None
            frames.publish({"a": "1"})
            with frames.viewer():
                assert await frames.after(0, SECONDS) is not None
        with frames.viewer():
            assert await frames.after(0, 0.0) is None

    asyncio.run(scenario())


def test_nothing_needs_to_be_drawn_without_a_viewer_and_at_once_for_the_first() -> None:
    def state(frames: Frames) -> tuple[bool, bool]:
        return frames.is_watched, frames.is_stale

    async def scenario() -> None:
        frames = Frames()
        assert state(frames) == (False, True)
        with frames.viewer():
            assert state(frames) == (True, True)
            frames.publish({"a": "1"})
            assert state(frames) == (True, False)
        assert state(frames) == (False, True)

    asyncio.run(scenario())
