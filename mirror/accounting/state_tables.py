"""All tables that this room keeps in the state database.

Runs in: keeper. Declarations only.
"""

from __future__ import annotations

from mirror.accounting.curve_table import CURVE_TABLES
from mirror.accounting.downloads import DOWNLOAD_TABLES
from mirror.accounting.ledger_tables import LEDGER_TABLES
from mirror.accounting.objects import OBJECT_TABLES

STATE_TABLES = LEDGER_TABLES + OBJECT_TABLES + DOWNLOAD_TABLES + CURVE_TABLES
