"""The same question is asked once, and nobody hangs on somebody else's connection."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.fill.bodies import InlineBody, PassThroughBody, Reply
from mirror.fill.messages import Ask, Failed, Purpose, StoredAnswer
from mirror.serve.asks import Asks
from tests.unit.serve.fakes import (
    INDEX_KEY,
    INDEX_TARGET,
    FakeKeeper,
    FakeReader,
    make_entry,
    running_worker,
)
from tests.unit.serve.slow_client import SlowClient

ASK = Ask(purpose=Purpose.FETCH, key=INDEX_KEY)
INLINE = InlineBody(
    entry=make_entry(INDEX_KEY, b"abc"), outcome="fwd=uri-miss; stored", content=b"abc"
)


class Patience:
    """A keeper that answers when the test says so."""

    def __init__(self) -> None:
        self.keeper = FakeKeeper()
        self.keeper.script = self._wait
        self.counted: list[str] = []
        self.asks = Asks(self.keeper, self.counted.append)
        self._waiting: list[asyncio.Future[Reply]] = []

    async def _wait(self, _: Ask) -> Reply:
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            self._waiting.remove(waiting)
            raise

    async def start(self, count: int, *, epoch: int = 1) -> list[asyncio.Task[Reply]]:
        tasks = [asyncio.create_task(self.asks.ask(ASK, epoch)) for _ in range(count)]
        await asyncio.sleep(0)
        return tasks

    def answer(self, reply: Reply) -> None:
        self._waiting.pop(0).set_result(reply)

    def fail(self) -> None:
        self._waiting.pop(0).set_exception(ValueError("broken"))


async def test_followers_share_one_inline_content() -> None:
    patience = Patience()
    tasks = await patience.start(20)
    assert repr(patience.asks) == "<Asks 1 under way, 19 followers>"
    patience.answer(INLINE)
    replies = await asyncio.gather(*tasks)
    assert len(patience.keeper.asked) == 1
    assert all(isinstance(r, InlineBody) and r.content is INLINE.content for r in replies)
    outcomes = [r.outcome for r in replies if isinstance(r, InlineBody)]
    assert outcomes == [INLINE.outcome] + [f"{INLINE.outcome}; collapsed"] * 19
    assert repr(patience.asks) == "<Asks 0 under way, 0 followers>"


@pytest.mark.parametrize(
    ("outcome", "followers"),
    [
        ("fwd=stale; fwd-status=304", "fwd=stale; fwd-status=304; collapsed"),
        ("fwd=uri-miss; stored; collapsed", "fwd=uri-miss; stored; collapsed"),
        ("hit", "hit"),
    ],
)
async def test_followers_share_a_stored_answer(
    tmp_path: Path, outcome: str, followers: str
) -> None:
    patience = Patience()
    tasks = await patience.start(2)
    stored = FakeReader(tmp_path).keep(INDEX_KEY, b"abc")
    patience.answer(StoredAnswer(stored=stored, outcome=outcome, is_stale=True))
    assert await asyncio.gather(*tasks) == [
        StoredAnswer(stored=stored, outcome=outcome, is_stale=True),
        StoredAnswer(stored=stored, outcome=followers, is_stale=True),
    ]


async def test_followers_share_a_failure() -> None:
    patience = Patience()
    tasks = await patience.start(3)
    failure = Failed(status=503, reason="away")
    patience.answer(failure)
    assert await asyncio.gather(*tasks) == [failure] * 3


async def test_every_follower_gets_a_piecewise_body_of_its_own() -> None:
    patience = Patience()
    tasks = await patience.start(3)
    bodies = [
        PassThroughBody(INLINE.entry, 3, on_read=lambda _: None, on_release=lambda: None)
        for _ in tasks
    ]
    patience.answer(bodies[0])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(patience.keeper.asked) == 3
    for body in bodies[1:]:
        patience.answer(body)
    assert await asyncio.gather(*tasks) == bodies


async def test_request_of_a_later_epoch_follows_nobody() -> None:
    """The answer under way may be from before a withdrawal."""
    patience = Patience()
    before = await patience.start(2, epoch=1)
    after = await patience.start(2, epoch=2)
    patience.answer(INLINE)
    patience.answer(Failed(status=404, reason="withdrawn"))
    assert [type(reply) for reply in await asyncio.gather(*before, *after)] == [
        InlineBody,
        InlineBody,
        Failed,
        Failed,
    ]


async def test_leader_whose_client_leaves_elects_a_follower() -> None:
    patience = Patience()
    tasks = await patience.start(4)
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    await asyncio.sleep(0)
    assert len(patience.keeper.asked) == 2
    patience.answer(INLINE)
    replies = await asyncio.gather(*tasks[1:])
    assert [type(reply) for reply in replies] == [InlineBody] * 3


async def test_follower_whose_client_leaves_takes_nobody_along() -> None:
    patience = Patience()
    tasks = await patience.start(3)
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    patience.answer(INLINE)
    replies = await asyncio.gather(tasks[0], tasks[2])
    assert [type(reply) for reply in replies] == [InlineBody, InlineBody]
    assert len(patience.keeper.asked) == 1


async def test_fault_of_the_leader_is_not_the_followers() -> None:
    patience = Patience()
    tasks = await patience.start(3)
    patience.fail()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    patience.answer(INLINE)
    patience.answer(INLINE)
    failed, *others = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(failed, ValueError)
    assert others == [INLINE, INLINE]


async def test_cold_inline_object_is_asked_for_once(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        may_answer = asyncio.Event()

        async def script(_: Ask) -> Reply:
            await may_answer.wait()
            return INLINE

        bench.keeper.script = script
        clients = [SlowClient(bench) for _ in range(20)]
        for client in clients:
            client.ask(f"GET {INDEX_TARGET} HTTP/1.1")
        for _ in range(3):
            await asyncio.sleep(0)
        may_answer.set()
        answers = [await client.answer() for client in clients]
        assert {answer.content for answer in answers} == {b"abc"}
        assert len(bench.keeper.asked) == 1
        assert sum("collapsed" in answer.fields["cache-status"] for answer in answers) == 19
        for client in clients:
            client.leave()
