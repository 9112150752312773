"""The soak: steady clients whose bodies are checked, while everything that may go wrong does.

    SOAK_MINUTES=60 python -m benchmarks.soak [part …]

Rules:
1. One mirror runs throughout with steady good clients; on it, side by side for `SOAK_MINUTES`, run
   the *timed* parts. The *counted* parts run beside them, one after another, each in a process and
   with mirrors of its own, until their count is reached.
2. Before anything else the checker is shown a planted wrong body, and must convict.
3. A part says what it saw, with the number beside each zero, and whether that is good. The exit
   code is 0 when every part is.
4. Tables that fill up to a bound are full, and the store evicts, before memory is judged: what
   grows after that would grow for ever (`full_tables`).
5. `SOAK_SEED` (default 1) repeats the choices; `SOAK_KILLS`, `SOAK_DAMAGE` and `SOAK_STAMPEDE` are
   the counts.

Units: seconds, bytes. Runs in: benchmark (`make soak`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks import full_tables
from benchmarks.results import ROOT, write_result
from benchmarks.soak_clients import SteadyClients
from benchmarks.soak_counted import COUNTED
from benchmarks.soak_stage import Figures, Stage
from benchmarks.soak_timed import JUDGED_S, TIMED
from mirror.simulator.process import start_simulator
from tests.faults.kill_rounds import require_checker_convicts
from tests.scenario.body_checker import known, warmed
from tests.scenario.edge import Edge

REPORT_EVERY_S = 30.0
WARM_LENGTHS = (900, 20_000, 300_000, 1_500_000)
SETTINGS = {**full_tables.SETTINGS, "serve.keeper_wait": "20s"}


def main(arguments: Sequence[str]) -> int:
    """Run the named parts, or all there are; return 0 when all is good."""
    parts = list(arguments) or [*TIMED, *COUNTED]
    if unknown := [name for name in parts if name not in {*TIMED, *COUNTED}]:
        print(f"no such part: {', '.join(unknown)}; there are {', '.join([*TIMED, *COUNTED])}")
        return 2
    seed = int(os.environ.get("SOAK_SEED", "1"))
    minutes = float(os.environ.get("SOAK_MINUTES", "60"))
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        found = _soak(Path(folder), parts, minutes, seed)
    is_good = all(figures["is_good"] for figures in found.values())
    for name, figures in found.items():
        print(f"{name}: {'good' if figures['is_good'] else 'NOT GOOD'}")
        for noun, value in figures.items():
            print(f"  {noun:>28}  {value}")
    figures = {"minutes": minutes, "seed": seed, "is_good": is_good, **found}
    print(f"{'good' if is_good else 'NOT GOOD'}; written: {write_result('soak', figures).name}")
    return 0 if is_good else 1


def _soak(folder: Path, parts: Sequence[str], minutes: float, seed: int) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    with start_simulator() as simulator, Edge(folder, simulator, settings=SETTINGS) as mirror:
        require_checker_convicts(simulator)
        found["self-check"] = {"planted wrong bodies found": 1, "is_good": True}
        if minutes * 60 >= JUDGED_S:
            full_tables.fill(mirror)
        warm = [known(archive) for archive in warmed(mirror, *WARM_LENGTHS)]
        with SteadyClients(mirror.port, warm) as clients:
            stage = Stage(
                mirror=mirror, simulator=simulator, clients=clients, seed=seed,
                until=time.monotonic() + minutes * 60,
            )  # fmt: skip
            threads = [
                threading.Thread(target=_guarded, args=(found, name, stage))
                for name in parts
                if name in TIMED
            ]
            counted = [name for name in parts if name in COUNTED]
            threads.append(threading.Thread(target=_run_counted, args=(found, counted, seed)))
            for thread in threads:
                thread.start()
            while running := next((each for each in threads if each.is_alive()), None):
                running.join(REPORT_EVERY_S)
                print(f"{stage.left_s:6.0f} s left; {clients!r}; done: {[*found]}", flush=True)
        found["clients"] = clients.figures()
        found["mirror"] = {"own faults": mirror.own_faults(), "is_good": not mirror.own_faults()}
    return found


def _guarded(found: dict[str, Figures], name: str, stage: Stage) -> None:
    """A part that breaks is a part that is not good; the others go on."""
    try:
        found[name] = TIMED[name](stage)
    except Exception:  # noqa: BLE001 # whatever it is, it is told at the end
        found[name] = {"error": traceback.format_exc(), "is_good": False}


def _run_counted(found: dict[str, Figures], names: Sequence[str], seed: int) -> None:
    """Run each in a process of its own, which gives way to the steady clients."""
    for name in names:
        began_at = time.monotonic()
        command = ["nice", "-n", "5", sys.executable, "-m", "benchmarks.soak_counted", name]
        done = subprocess.run(
            [*command, str(seed)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        try:
            figures: Figures = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            figures = {"error": (done.stdout + done.stderr)[-4000:], "is_good": False}
        found[name] = {**figures, "took_s": round(time.monotonic() - began_at, 1)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
