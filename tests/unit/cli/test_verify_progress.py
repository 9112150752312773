"""Progress goes to standard error: a bar on a terminal, lines elsewhere, nothing when unwanted."""

from __future__ import annotations

import errno
import os
import pty
import sys

import pytest

from mirror.cli.verify_progress import Progress
from mirror.store.inspection import Extent

EXTENT = Extent(entries=3, blobs=2, blob_bytes=4096)


def read_all(descriptor: int) -> bytes:
    """Read a terminal whose other end is closed; one read gives what is there, not all."""
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(descriptor, 1 << 16)
        except OSError as exc:
            if exc.errno != errno.EIO:
                raise
            return b"".join(pieces)  # how Linux tells the end
        pieces.append(piece)


def walk(progress: Progress) -> None:
    with progress:
        progress.begin(EXTENT)
        for _ in range(2):
            progress.read(2048)
            progress.file_done()
        for _ in range(3):
            progress.entry_done()


def test_without_a_terminal_it_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    walk(Progress(is_shown=True, line_every_s=0.0))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("read 2.0 KiB of 4.0 KiB, 0 of 2 files; compared 0 of 3 objects")
    assert lines[-1].startswith("read 4.0 KiB of 4.0 KiB, 2 of 2 files; compared 3 of 3 objects")


def test_comparison_with_upstream_tells_of_no_files(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(is_shown=True, line_every_s=0.0) as progress:
        progress.begin_comparing(7)
        progress.entry_done()
    assert capsys.readouterr().err == "compared 1 of 7 objects\n"


def test_short_checks_and_json_tell_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    walk(Progress(is_shown=True))
    walk(Progress(is_shown=False, line_every_s=0.0))
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = pty.openpty()
    terminal = os.fdopen(writing, "w")
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    walk(Progress(is_shown=True))
    terminal.close()
    shown = read_all(reading).decode(errors="replace")
    os.close(reading)
    assert "files 2" in shown
    assert "vouchers" in shown
    assert "100%" in shown
