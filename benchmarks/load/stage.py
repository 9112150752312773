"""What the process that prepares a run hands to the process that loads, as one JSON file.

Units: seconds, bytes. Runs in: benchmark, both environments.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.catalogue import Catalogue, catalogue_from, to_json

VARIABLE = "LOAD_STAGE"  # of the environment: the path of the file
FILE_NAME = "stage.json"
SUMMARY_NAME = "summary.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """`most_bytes` 0: no limit. `is_planted`: a wrong body is planted, and nothing else is asked.

    `awaited_jobs`: the kinds of which one must have ended for the run to be good.
    """

    url: str
    pause_s: float
    seconds: float
    catalogue: Catalogue
    awaited_jobs: tuple[str, ...] = ()
    most_bytes: int = 0
    is_planted: bool = False

    def write(self, folder: Path) -> Path:
        document = {
            "url": self.url,
            "pause_s": self.pause_s,
            "seconds": self.seconds,
            "catalogue": to_json(self.catalogue),
            "awaited_jobs": list(self.awaited_jobs),
            "most_bytes": self.most_bytes,
            "is_planted": self.is_planted,
        }
        path = folder / FILE_NAME
        path.write_text(json.dumps(document))
        return path


def read_stage(path: Path) -> Stage:
    """Raises: OSError, KeyError for what `Stage.write` did not write."""
    document = json.loads(path.read_text())
    catalogue = catalogue_from(document.pop("catalogue"))
    awaited = tuple(document.pop("awaited_jobs"))
    return Stage(catalogue=catalogue, awaited_jobs=awaited, **document)
