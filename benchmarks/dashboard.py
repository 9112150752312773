"""The dashboard's first view: from the start of navigation to painted figures, and what it weighs.

Rules:
1. Every view is a browser's first: a profile of its own, with nothing kept; the browser is running.
2. It is over at the second frame after both stream and ledger have put figures in the page: by then
   the first one has been painted.
3. Weight is what came over the wire until then, heads included, without the stream.

Units: milliseconds, bytes. Runs in: benchmark (`python -m benchmarks.dashboard`).
"""

from __future__ import annotations

import argparse
import http.client
import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from benchmarks.edge import Edge, edge
from benchmarks.processes import free_port
from benchmarks.results import ROOT, write_result
from mirror.simulator.process import start_simulator

LIMIT_MS = 1000.0
WEIGHT_LIMIT_BYTES = 300_000
_PATHS = ("/index/2/io", "/crates/io/io-1.0.0.crate", "/rustup/release-stable.toml")
_WATCH = """
window.firstView = new Promise((resolve) => {
  const look = () => {
    if (!document.querySelector("#classes tbody tr") || !document.querySelector("#now .tile")) {
      requestAnimationFrame(look);
    } else {
      requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now())));
    }
  };
  look();
});
"""
_WEIGHT = """
[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .filter((each) => !each.name.endsWith("/events"))
  .reduce((sum, each) => sum + each.transferSize, 0)
"""


def main() -> int:
    """Run the benchmark; with `--require` return 1 beyond the limits."""
    arguments = _arguments()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("chromium not found: install it (Debian: package chromium)")
    control = f"127.0.0.1:{free_port()}"
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        start_simulator() as simulator,
        edge(
            Path(name) / "mirror",
            simulator,
            workers=arguments.workers,
            environment={"RUST_MIRROR__CONTROL__LISTEN": control},
        ) as mirror,
        sync_playwright() as playwright,
    ):
        _warm(mirror)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        _view(browser, "about:blank", is_dashboard=False)
        views = [_view(browser, f"http://{control}/") for _ in range(arguments.views)]
        browser.close()
    times_ms, weights = [took for took, _ in views], [weight for _, weight in views]
    figures: dict[str, object] = {
        "workers": arguments.workers,
        "views": arguments.views,
        "median_ms": round(statistics.median(times_ms)),
        "max_ms": round(max(times_ms)),
        "bytes": max(weights),
    }
    for figure, value in figures.items():
        print(f"{figure:16} {value}")
    if arguments.save:
        print(write_result("dashboard", figures).relative_to(ROOT))
    is_good = max(times_ms) < LIMIT_MS and max(weights) <= WEIGHT_LIMIT_BYTES
    return 0 if is_good or not arguments.require else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--views", type=int, default=5)
    parser.add_argument("--require", action="store_true", help="fail beyond the limits")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/…")
    return parser.parse_args()


def _warm(mirror: Edge) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", mirror.port, timeout=30)
    for path in _PATHS * 10:
        connection.request("GET", path)
        connection.getresponse().read()
    connection.close()


def _view(browser: Browser, url: str, *, is_dashboard: bool = True) -> tuple[float, int]:
    """Return how long it took and what it weighed."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.add_init_script(_WATCH)
    page.goto(url)
    took_ms, weight = 0.0, 0
    if is_dashboard:
        took_ms, weight = page.evaluate("window.firstView"), page.evaluate(_WEIGHT)
    context.close()
    return took_ms, weight


if __name__ == "__main__":
    raise SystemExit(main())
