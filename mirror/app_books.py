"""Opens the keeper's books: the state database, the ledger in it, and who keeps it up to date.

Rules:
1. Pages read through a connection of their own: a long question of a report never holds up a
   crate's record or a roll-up.
2. What is pushed on the stack here is closed after all that counts, so that the last roll-up has
   everything this keeper did.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass

from mirror.accounting.bookkeeper import Bookkeeper
from mirror.accounting.counter_files import read_counter_files
from mirror.accounting.curve import CurveModel
from mirror.accounting.layout import Layout
from mirror.accounting.ledger import Ledger, Retention
from mirror.accounting.ledger_history import LedgerHistory
from mirror.accounting.object_accounts import AccountsPlan, ObjectAccounts
from mirror.accounting.state_tables import STATE_TABLES
from mirror.clock import Clock
from mirror.config import Config
from mirror.events import EventLog
from mirror.store.budget import footprint
from mirror.store.ranks_in_memory import ranks_in_force
from mirror.store.state import STATE_NAME, StateDatabase
from mirror.store.state_reader import StateReader


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperBooks:
    """`bookkeeper` is to be started when its chores are known; `accounts` hear what is served."""

    state: StateDatabase
    bookkeeper: Bookkeeper
    accounts: ObjectAccounts
    history: LedgerHistory


async def open_books(
    config: Config,
    layout: Layout,
    clock: Clock,
    events: EventLog,
    stack: contextlib.AsyncExitStack,
) -> KeeperBooks:
    """`layout` is that of the counters in force. Raises StoreError."""
    state_path = config.state.path
    path = os.path.join(state_path, STATE_NAME)
    state = await asyncio.to_thread(StateDatabase.open, path, tables=STATE_TABLES)
    stack.callback(state.close)
    reader = await asyncio.to_thread(StateReader.open, path)
    stack.callback(reader.close)
    kept = config.accounting
    retention = Retention(
        minutes_s=kept.minutes_kept, hours_s=kept.hours_kept, days_s=kept.days_kept
    )
    accounts = await asyncio.to_thread(_open_accounts, config, state, clock, events)
    bookkeeper = Bookkeeper(Ledger(state), state_path, layout, retention, clock, events)
    bookkeeper.take_on(accounts.keep, accounts.keep_all)
    stack.push_async_callback(bookkeeper.aclose)
    history = LedgerHistory(reader, lambda: read_counter_files(state_path).files, clock)
    return KeeperBooks(state=state, bookkeeper=bookkeeper, accounts=accounts, history=history)


def _open_accounts(
    config: Config, state: StateDatabase, clock: Clock, events: EventLog
) -> ObjectAccounts:
    model = CurveModel(
        policy=ranks_in_force,
        footprint=footprint,
        sampled_objects=config.accounting.sampled_objects,
    )
    plan = AccountsPlan(
        curve=model,
        budget_bytes=config.store.budget,
        top_objects=config.accounting.top_objects,
        days_kept_s=config.accounting.days_kept,
    )
    return ObjectAccounts(state, plan, clock, events)
