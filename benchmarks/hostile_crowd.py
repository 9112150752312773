"""The hostile clients, in a process of their own: one thread per kind of attack.

    python -m benchmarks.hostile_crowd '{"target": {…}, "seed": 1}'

Rules:
1. Lines on standard input: "go" begins all attacks, "rest" ends them; each is answered by one line
   of JSON, what every kind has done so far. The end of input ends the process.
2. The process gives way to all others (nice 19): in life it has machines of its own.
3. What an attack raises but OSError is kept and told: an attacker that is broken attacks nobody.

Runs in: benchmark, tests.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Mapping

from benchmarks.hostile_floods import FLOODS
from benchmarks.hostile_held import HELD, Attack, Target

KINDS = {**HELD, **FLOODS}
REST_S = 1.0  # of one kind between two bursts, in the mean: kinds do not fall into step
_NICE = 19


class Crowd:
    """All kinds at once, as often as wanted."""

    def __init__(self, target: Target, seed: int) -> None:
        self._stop = threading.Event()
        self._attacks = {
            name: Attack(target=target, stop=self._stop, dice=random.Random(f"{name} {seed}"))
            for name in KINDS
        }
        self._threads: list[threading.Thread] = []
        self.broken: list[str] = []

    def go(self) -> None:
        self._stop.clear()
        self._threads = [threading.Thread(target=self._repeat, args=(name,)) for name in KINDS]
        for thread in self._threads:
            thread.start()

    def rest(self) -> None:
        """End the attacks; their connections are closed when this returns."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def seen(self) -> dict[str, dict[str, int]]:
        return {name: dict(attack.seen) for name, attack in self._attacks.items()}

    def _repeat(self, name: str) -> None:
        attack = self._attacks[name]
        while not self._stop.is_set():
            try:
                KINDS[name](attack)
                attack.seen["bursts"] += 1
            except OSError:
                attack.seen["broken off"] += 1
            except Exception:  # noqa: BLE001 # rule 3
                self.broken.append(f"{name}: {traceback.format_exc()}")
                return
            self._stop.wait(attack.dice.uniform(0, 2 * REST_S))


def totals(seen: Mapping[str, Mapping[str, int]]) -> Counter[str]:
    """Return what the kinds did together."""
    total: Counter[str] = Counter()
    for counts in seen.values():
        total.update(counts)
    return total


def main(argument: str) -> int:
    os.nice(_NICE)
    orders = json.loads(argument)
    crowd = Crowd(Target(**orders["target"]), orders["seed"])
    for line in sys.stdin:
        if line.strip() == "go":
            crowd.go()
        else:
            crowd.rest()
        print(json.dumps({"seen": crowd.seen(), "broken": crowd.broken}), flush=True)
    crowd.rest()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
