"""What the unit tests share: a hypothesis profile that does not measure time.

A deadline per example fails when other work takes the processor; a slow example shows up in
pytest's own timeout.

Runs in: pytest.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
