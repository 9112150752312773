"""The jobs of simulated runners: which requests, in which order, over which connections.

    job        asks for                                                    over
    install    .sha256, manifest, archives (two at a time)                 a connection per request
    fetch      config.json, index files, crates of a lock file             one HTTP/2 connection
    update     index files that it has (mostly 304), the crates renewed    HTTP/2 or keep-alive
    slow       one large archive, read at `SLOW_BYTES_PER_S`               one connection
    stampede   an install of the release that was just published           a connection per request

Rules:
1. Every answer is judged and recorded under the name of its job and step ("fetch crate").
2. Between its steps a job rests, as real ones unpack and compile; a release ends the rest.
3. An install or a fetch that meets a failure ends there, as rustup and cargo do.
4. Which crates a project has follows Zipf's law; a runner keeps its project, as a repository does.

Units: seconds, bytes per second. Runs in: benchmark, both environments.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Iterable, Sequence

from benchmarks.load.answers import CARGO_AGENT, OUTDATED_TAG, RUSTUP_AGENT, Answer, Question
from benchmarks.load.board import Board
from benchmarks.load.catalogue import Catalogue, Crate, Item, Toolchain
from benchmarks.load.doors import Door
from benchmarks.load.http1 import OneByOne, ask_once
from benchmarks.load.http2 import AtOnce, Beginning
from benchmarks.load.records import JOBS, Record

# Far above the mirror's default min_rate of 1 KiB/s, far below what anybody means by fast.
SLOW_BYTES_PER_S = 32 << 10
SLOW_LONGEST_S = 8.0  # an archive that would take longer is not read slowly
_CRATES_MEDIAN = 40  # of a lock file
_RENEWED_RATIO = 0.05  # of the crates of a project, per update
_OUTDATED_RATIO = 0.05  # of the index files that a runner has
_KEEP_ALIVE_RATIO = 0.3  # of the updates: cargo without multiplexing, behind old proxies
_SHARES = {"install": 3, "fetch": 4, "update": 5, "slow": 1}  # of the jobs


class Runner:
    """One machine that lives one job after the other; `number` makes it the same in every run."""

    def __init__(
        self, number: int, *, catalogue: Catalogue, door: Door, board: Board, record: Record,
        pause_s: float,
    ) -> None:  # fmt: skip
        self._catalogue = catalogue
        self._door = door
        self._board = board
        self._record = record
        self._dice = random.Random(f"runner-{number}")
        self._crates = _lock_file(catalogue.crates, self._dice)
        self._installed_number = board.number
        # The first jobs go round, so that a short run sees each kind.
        self._next_kind = JOBS[number % len(JOBS)]
        self._pause_s = pause_s

    def live_one_job(self) -> str:
        """Live the job that is due and rest; return its name."""
        name = self._live()
        self._rest(0.6)
        return name

    def _live(self) -> str:
        if self._board.release is not None and self._board.number > self._installed_number:
            self._installed_number = self._board.number
            self.install(self._board.release, "stampede")
            return "stampede"
        name, self._next_kind = self._next_kind, self._chosen_kind()
        match name:
            case "install":
                self.install(self._dice.choice(self._catalogue.toolchains))
            case "fetch":
                self.fetch()
            case "update":
                self.update()
            case _:
                self.read_slowly()
        return name

    def install(self, toolchain: Toolchain, job: str = "install") -> None:
        stated = ask_once(self._door, Question(item=toolchain.digest, agent=RUSTUP_AGENT))
        if not self._record(f"{job} .sha256", stated):
            return
        manifest = toolchain.manifest
        if manifest.may_change:
            # The channel moved on between the two, or not: what was stated is what must come.
            sha256 = stated.start.decode("latin-1")
            manifest = Item(target=manifest.target, sha256=sha256)
        found = ask_once(self._door, Question(item=manifest, agent=RUSTUP_AGENT))
        if self._record(f"{job} manifest", found):
            for answer in self._two_at_a_time(toolchain.archives):
                self._record(f"{job} archive", answer)

    def fetch(self) -> None:
        connection = AtOnce(self._door, self._dice.choice(list(Beginning)))
        steps = (
            ("fetch config.json", [self._catalogue.config]),
            ("fetch index", [each.index for each in self._crates]),
            ("fetch crate", [each.archive for each in self._crates]),
        )
        try:
            for name, items in steps:
                questions = [Question(item=item, agent=CARGO_AGENT) for item in items]
                rights = [self._record(name, each) for each in connection.ask_all(questions)]
                if not all(rights):
                    return
                self._rest(0.15)
        finally:
            connection.close()

    def update(self) -> None:
        asked = [self._conditional(crate.index) for crate in self._crates]
        renewed = [item.archive for item in self._crates if self._dice.random() < _RENEWED_RATIO]
        asked += [Question(item=item, agent=CARGO_AGENT) for item in renewed]
        if self._dice.random() < _KEEP_ALIVE_RATIO:
            self._update_one_by_one(asked)
            return
        connection = AtOnce(self._door, self._dice.choice(list(Beginning)))
        try:
            for answer in connection.ask_all(asked):
                self._record(_update_name(answer.question), answer)
        finally:
            connection.close()

    def _update_one_by_one(self, questions: Sequence[Question]) -> None:
        try:
            connection = OneByOne(self._door)
        except OSError as exc:
            failed = Answer(question=questions[0], took_s=0.0, failure=f"no connection: {exc}")
            self._record(_update_name(questions[0]), failed)
            return
        with connection:
            for question in questions:
                answer = connection.ask(question)
                self._record(_update_name(question), answer)
                if answer.failure:
                    return

    def read_slowly(self) -> None:
        short = [
            item
            for item in self._catalogue.archives()
            if item.length_bytes <= SLOW_BYTES_PER_S * SLOW_LONGEST_S
        ]
        item = max(short, key=lambda item: item.length_bytes, default=self._crates[0].archive)
        question = Question(item=item, agent=RUSTUP_AGENT, bytes_per_s=SLOW_BYTES_PER_S)
        self._record("slow archive", ask_once(self._door, question))

    def _two_at_a_time(self, items: Iterable[Item]) -> list[Answer]:
        """Ask as rustup does for archives; the threads are greenlets under locust."""
        questions = [Question(item=item, agent=RUSTUP_AGENT) for item in items]
        answers: list[Answer] = []

        def work() -> None:
            while questions:
                answers.append(ask_once(self._door, questions.pop(0)))

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def _chosen_kind(self) -> str:
        kinds = self._dice.choices(list(_SHARES), list(_SHARES.values()))
        return kinds[0]

    def _conditional(self, item: Item) -> Question:
        """Ask with the tag of the body that the runner has, now and then of an older one."""
        tag = f'"{item.sha256}"'
        if self._dice.random() < _OUTDATED_RATIO:
            tag = OUTDATED_TAG
        return Question(item=item, agent=CARGO_AGENT, entity_tag=tag)

    def _rest(self, share: float) -> None:
        self._board.rest(share * self._dice.uniform(0.5, 1.5) * self._pause_s)


def _lock_file(crates: Sequence[Crate], dice: random.Random) -> list[Crate]:
    wanted = min(len(crates), round(dice.lognormvariate(math.log(_CRATES_MEDIAN), 0.4)))
    weights = [1 / (rank + 1) for rank in range(len(crates))]
    chosen: dict[str, Crate] = {}
    while len(chosen) < max(1, wanted * 2 // 3):
        crate = dice.choices(crates, weights)[0]
        chosen[crate.archive.target] = crate
    return list(chosen.values())


def _update_name(question: Question) -> str:
    return "update index" if question.entity_tag else "update crate"
