"""What all cases need: objects, an origin, a certificate, warm servers.

Runs in: benchmark.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from benchmarks.hit.cases import Case
from benchmarks.hit.objects import ObjectSet, publish
from benchmarks.hit.origin import origin
from benchmarks.hit.rounds import Stage, warm
from benchmarks.hit.servers import Server, Site, certificate

Starts = Callable[[Site], contextlib.AbstractContextManager[list[Server]]]


@contextlib.contextmanager
def stages(
    chosen: Sequence[Case], starts: Starts, *, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[list[Server], dict[ObjectSet, Stage]]]:
    """Publish the objects, run the servers and warm them; yields servers and stages.

    `environment` is added to the mirror's.
    """
    signal.signal(signal.SIGTERM, _end)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        root = folder / "www"
        root.mkdir()
        made = certificate(folder / "tls")
        found: dict[ObjectSet, Stage] = {}
        for wanted in dict.fromkeys(case.objects for case in chosen):
            say(f"writing {wanted.name}")
            published = publish(root, wanted)
            targets = folder / f"targets-{wanted.size}-{wanted.count}"
            targets.write_text("\n".join(published.targets) + "\n")
            found[wanted] = Stage(published=published, targets=targets, authority=made.authority)
        base = stack.enter_context(origin(root, folder))
        site = Site(
            folder=folder, root=root, origin=base, made=made, environment=dict(environment or {})
        )
        running = stack.enter_context(starts(site))
        for wanted, stage in found.items():
            for server in running:
                say(f"warming {server.name}: {wanted.name}")
                warm(server, stage.published)
        yield running, found


def _end(number: int, _frame: FrameType | None) -> None:
    """Leave by way of every `finally`: the servers have to be ended too."""
    sys.exit(128 + number)


def say(text: str) -> None:
    """Show progress where somebody watches."""
    if sys.stdout.isatty():
        print(f"\r{text:<78.78}", end="\r", flush=True)
