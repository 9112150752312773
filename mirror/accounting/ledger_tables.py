"""The ledger's tables and statements in the state database.

    ledger_cell   a counted cell's number; its name is the JSON list of `layout.CellName`
    ledger_sum    what was counted in one minute, hour or day (`step` is its length in seconds)
    ledger_total  what was counted since the state directory was made, whatever has expired
    ledger_file   a counters file; `gone_at`: when it was first missed
    ledger_seen   what each cell of a file said at the last roll-up; no row: zero
    ledger_mark   Unix times: `began_at` (first count), `rolled_up_at` (newest transaction)

Rules:
1. A sum, the total and what was seen of a file change in one transaction, or not at all.
2. Statements make what is missing only: they may run at every start.

Does not: hold the tables of sampled objects, downloads and the curve (their own modules do).
Runs in: keeper and commands. Declarations only.
"""

from __future__ import annotations

from collections.abc import Sequence

Value = str | int | float | bytes | None
Query = tuple[str, Sequence[Value]]
Statement = tuple[str, Sequence[Sequence[Value]]]  # run once per row of values

LEDGER_TABLES = """
CREATE TABLE IF NOT EXISTS ledger_cell (
    id INTEGER PRIMARY KEY, section TEXT NOT NULL, name TEXT NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS ledger_sum (
    step INTEGER NOT NULL, at INTEGER NOT NULL, cell INTEGER NOT NULL, value INTEGER NOT NULL,
    PRIMARY KEY (step, at, cell)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger_total (cell INTEGER PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS ledger_file (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, path TEXT NOT NULL, gone_at REAL
);
CREATE TABLE IF NOT EXISTS ledger_seen (
    file INTEGER NOT NULL, cell INTEGER NOT NULL, value INTEGER NOT NULL,
    PRIMARY KEY (file, cell)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger_mark (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
"""

READ_CELLS = "SELECT id, name FROM ledger_cell"
READ_TOTALS = "SELECT c.name, t.value FROM ledger_total t JOIN ledger_cell c ON c.id = t.cell"
READ_FILES = "SELECT id, number, gone_at IS NOT NULL FROM ledger_file"
READ_SEEN = """
SELECT c.name, s.value FROM ledger_seen s
JOIN ledger_file f ON f.number = s.file JOIN ledger_cell c ON c.id = s.cell WHERE f.id = ?
"""
READ_MARK = "SELECT value FROM ledger_mark WHERE name = ?"
READ_CELLS_OF = "SELECT id, name FROM ledger_cell WHERE section = ?"
# Cells by number: a year of 64 groups has two million of these rows.
READ_SUMS = """
SELECT at, cell, value FROM ledger_sum WHERE step = ? AND at >= ? AND at < ?
AND cell IN (SELECT id FROM ledger_cell WHERE section = ?)
"""
# A served cell's name is ["served", group, class, outcome, column].
READ_SERVED_BYTES = """
SELECT at, SUM(value) FROM ledger_sum WHERE step = ? AND at >= ? AND at < ?
AND cell IN (SELECT id FROM ledger_cell WHERE section = 'served'
    AND json_extract(name, '$[2]') <> ? AND json_extract(name, '$[4]') = 'content_bytes')
GROUP BY at ORDER BY at
"""

ADD_CELL = "INSERT INTO ledger_cell (id, section, name) VALUES (?, ?, ?)"
ADD_FILE = "INSERT INTO ledger_file (number, id, path) VALUES (?, ?, ?)"
ADD_SUM = """
INSERT INTO ledger_sum (step, at, cell, value) VALUES (?, ?, ?, ?)
ON CONFLICT (step, at, cell) DO UPDATE SET value = value + excluded.value
"""
ADD_TOTAL = """
INSERT INTO ledger_total (cell, value) VALUES (?, ?)
ON CONFLICT (cell) DO UPDATE SET value = value + excluded.value
"""
PUT_SEEN = "INSERT OR REPLACE INTO ledger_seen (file, cell, value) VALUES (?, ?, ?)"
PUT_GONE = "UPDATE ledger_file SET gone_at = ? WHERE number = ?"
PUT_MARK = "INSERT OR REPLACE INTO ledger_mark VALUES (?, ?)"
ADD_MARK = "INSERT OR IGNORE INTO ledger_mark VALUES (?, ?)"

EXPIRE_SUMS = """
DELETE FROM ledger_sum WHERE (step, at, cell) IN (
    SELECT step, at, cell FROM ledger_sum WHERE step = ? AND at < ? LIMIT ?
)
"""
EXPIRE_SEEN = """
DELETE FROM ledger_seen WHERE file IN (SELECT number FROM ledger_file WHERE gone_at < ?)
"""
EXPIRE_FILES = "DELETE FROM ledger_file WHERE gone_at < ?"
