"""How `purge` and `gc` reach the store: through the mirror that runs, else by opening it.

Rules:
1. Where a mirror runs, it acts: it owns the store, and its workers must know. Where none does, this
   process takes the store's lock meanwhile, as a mirror would; a start waits for nobody and is
   refused.
2. A store that is opened here is opened by its own user: files that root made in it would lock the
   mirror out. None is made where there is none.
3. Progress goes to standard error: a bar on a terminal, a line now and then elsewhere.

Runs in: commands.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from mirror.config import Config
from mirror.errors import StoreError

if TYPE_CHECKING:
    from mirror.store.store import Store

LINE_EVERY_S = 10.0
Show = Callable[[int], None]


@contextmanager
def shown_progress(
    what: str, total: int, *, is_shown: bool, text: Callable[[int], str]
) -> Iterator[Show]:
    """Give a function that shows how far it is."""
    if not is_shown:
        yield lambda _: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as bars:
            bar = bars.add_task(what, total=max(1, total))
            yield lambda done: bars.update(bar, completed=done, description=f"{what} {text(done)}")
    else:
        told_at = [time.monotonic()]

        def tell(done: int) -> None:
            if time.monotonic() >= told_at[0] + LINE_EVERY_S:
                told_at[0] = time.monotonic()
                click.echo(f"{what} {text(done)} of {text(total)}", err=True)

        yield tell


@contextmanager
def own_store(config: Config) -> Iterator[Store]:
    """Open the store of a mirror that does not run.

    Raises: StoreError when there is none, it is somebody else's, or a mirror owns it after all.
    """
    from mirror.clock import SystemClock
    from mirror.store.files import RealFiles
    from mirror.store.store import Store

    path = config.store.path
    for place, noun in ((path, "store"), (config.state.path, "state")):
        _require_own(place, noun)
    store = Store.open(config.store, config.state, RealFiles(), SystemClock(), None)
    try:
        yield store
    finally:
        store.close()


def result_of(answer: dict[str, Any], source: str) -> dict[str, Any]:
    """Return what a verb came to. Raises StoreError when the mirror could not do it."""
    if "result" not in answer:
        raise StoreError(source, str(answer.get("error", "no answer")), hint=answer.get("hint", ""))
    result: dict[str, Any] = answer["result"]
    return result


def _require_own(path: str, noun: str) -> None:
    try:
        owner = os.stat(path).st_uid
    except OSError as exc:
        hint = f"name the mirror's {noun}: --set {noun}.path=…, or --config FILE"
        raise StoreError(
            path, f"there is no {noun} here", hint=hint, retryable=False, noun=noun
        ) from exc
    if owner != os.geteuid():
        raise StoreError(
            path,
            f"belongs to user {owner}, and no mirror runs that could act for this one",
            hint="run it as the mirror's user, or start the mirror",
            retryable=False,
            noun=noun,
        )
