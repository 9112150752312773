"""Every doubtful request is refused once, early, however its bytes are cut into reads."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest

from tests.unit.serve.fakes import parse_answer
from tests.unit.serve.framing_cases import ACCEPTED, NEXT, REFUSED, Case
from tests.unit.serve.idle_worker import FedConnection, IdleWorker

SPLITS = 12


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdleWorker]:
    with IdleWorker(tmp_path_factory.mktemp("framing")) as idle:
        yield idle


def pieces_of(raw: bytes, seed: int) -> Sequence[bytes]:
    """Cut at random places, the same for each run; 0: not at all, 1: every byte by itself."""
    if seed == 0:
        return [raw]
    if seed == 1 and len(raw) < 2000:
        return [raw[at : at + 1] for at in range(len(raw))]
    chosen = random.Random(seed)
    cuts = sorted(chosen.randrange(len(raw) + 1) for _ in range(chosen.randint(1, 6)))
    return [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


def check_refused(worker: IdleWorker, case: Case, pieces: Sequence[bytes]) -> None:
    with FedConnection(worker) as client:
        for piece in pieces:
            client.feed(piece)
        answer = parse_answer(client.sent)
    assert answer.status == case.status, (case, pieces)
    assert answer.fields["connection"] == "close"
    assert answer.rest == b"", pieces
    assert b"live" not in answer.content
    assert client.has_sent_eof
    assert worker.keeper.asked == []


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_doubtful_request_gets_one_refusal_and_the_end(worker: IdleWorker, case: Case) -> None:
    """Nothing here waits for a deadline: the clock stands still."""
    tails = [NEXT] if case.is_open else [NEXT, b""]
    for tail in tails:
        for seed in range(SPLITS):
            check_refused(worker, case, pieces_of(case.raw + tail, seed))


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_doubtful_request_is_refused_behind_others(worker: IdleWorker, case: Case) -> None:
    """It is pipelined behind one that is fine, whose head is known by then."""
    for seed in range(4):
        with FedConnection(worker) as client:
            for piece in pieces_of(NEXT + NEXT + case.raw + NEXT, seed):
                client.feed(piece)
            received = client.sent
        for _ in range(2):
            answer = parse_answer(received)
            assert (answer.status, answer.content) == (200, b"live\n")
            received = answer.rest
        answer = parse_answer(received)
        assert (answer.status, answer.rest) == (case.status, b"")


@pytest.mark.parametrize("name", list(ACCEPTED))
def test_sound_request_is_answered_and_so_is_the_next(worker: IdleWorker, name: str) -> None:
    for seed in range(SPLITS):
        with FedConnection(worker) as client:
            for piece in pieces_of(ACCEPTED[name] + NEXT, seed):
                client.feed(piece)
            received = client.sent
        for _ in range(2):
            answer = parse_answer(received)
            assert (answer.status, answer.content) == (200, b"live\n"), (name, seed)
            received = answer.rest
        assert received == b""


def test_accepted_request_does_not_pass_for_a_refused_one(worker: IdleWorker) -> None:
    """The check above can fail."""
    with pytest.raises(AssertionError):
        check_refused(worker, REFUSED[0], [NEXT])
