"""What a person does about an event: one sentence per name, added to its line as `hint`.

Rules:
1. Every event at level warning or error is here, or where it is told with a `hint` of its own;
   `tests/unit/test_event_hints.py` asks the sources.
2. `NEEDS_NOBODY` names those that the mirror settles by itself, and says why they are told.

Runs in: worker, keeper, supervisor, commands. Pure.
"""

from __future__ import annotations

from typing import Final

_BUG: Final = (
    "report it with this line: it is a mistake of the mirror's; the request ended with an error, "
    "others go on"
)
_DISK: Final = "look at the disk that holds the store: space, inodes, rights, kernel messages"
_STATE_DISK: Final = (
    "look at the disk that holds the state directory: space, rights, kernel messages"
)
_PROOF: Final = (
    "compare with upstream from another network; if only here, look for a proxy or cache that "
    "changes bytes, else tell the upstream's operators; what is stored goes on being served"
)
_WITHDRAWN: Final = (
    "expected after a change of [trust]; if nobody made one, put the former values back and reload"
)

HINTS: Final[dict[str, str]] = {
    # processes
    "process-died": "it was started again; if it repeats, look in the kernel log for the "
    "out-of-memory killer, and report the lines before this one",
    "process-failed": _BUG,
    "client-memory-missing": "lower [limits] tracked_clients or free memory, then restart; until "
    "then each worker applies [limits] by itself",
    "process-refused": "repair what the reason names, then reload or restart",
    "process-hung": "it was killed and started again; if it repeats, look for a disk or network "
    "file system that hangs",
    "process-silent": "it is replaced; if it repeats, the machine is short of CPU or its disk "
    "hangs",
    "process-keeps-dying": "it is started again once a second, which is told less loudly; the "
    "process-failed or process-refused events before this one name the cause",
    "process-not-started": "free memory, or raise the limits of processes and open files "
    "(TasksMax=, LimitNOFILE= of systemd); it is tried again every second, the others go on",
    "upgrade-refused": "the running version goes on; repair what the reason names, then send "
    "SIGUSR2 again; `rust-mirror config check` tells what is wrong with a configuration",
    "start-refused": "repair what the process-refused event before this one names, then start",
    "successor-failed": "the former process goes on; repair what the event before this one names, "
    "then reload",
    "reload-refused": "repair the key, check with `rust-mirror config check`, then reload; the "
    "former configuration is in force",
    "reload-undone": "the former configuration is in force; repair what the process-refused event "
    "before this one names, then reload",
    "reload-needs-restart": "restart to change these keys; all others are in force",
    "drain-deadline": "if transfers that are cut matter, raise [serve] drain_timeout",
    "open-files-limited": "raise the limit of open files (LimitNOFILE= of systemd), or lower "
    "[serve] max_connections",
    "events-lost": "let something read standard error; the latest events are in the state "
    "directory, below events/",
    "keeper-lost": "it is started again by itself; if it repeats, look at the process-died events",
    "keeper-protocol-error": "restart the mirror: its processes are of different versions",
    "worker-cut-off": "if it repeats, the machine is short of CPU or memory",
    # configuration
    "upstream-is-this-mirror": "set connect_to of that upstream to upstream's own address, so that "
    "the mirror does not ask itself",
    "release-key-refused": "put the right key into [trust] release_key_file; until then no new "
    "channel manifest is taken over",
    "certificate-refused": "install a certificate and its key that belong together; the former "
    "one is in use",
    "certificate-expired": "renew the certificate; clients refuse this one",
    "certificate-expires": "renew the certificate before that day; the new files are noticed",
    "certificate-not-yet-valid": "correct the clock, or install a certificate that is valid",
    # trust
    "digest-mismatch": _PROOF,
    "signature-mismatch": _PROOF,
    "content-refused": _PROOF,
    "proof-refused": _PROOF,
    "upstream-checksum-differs": _PROOF,
    "upstream-circuit-opened": "look at the upstream, and at the network between: it is left alone "
    "and tried by one request at a time; what is stored is served meanwhile",
    "channel-refused": "look at the channel at upstream: its signature does not vouch for its "
    "manifest; the last good one is served",
    "rustup-release-rollback": "look at upstream: it names an older rustup than it has had; the "
    "newer one is served",
    "blob-condemned": "check the disk (smartctl, kernel messages): a stored file changed; it is "
    "fetched anew",
    "crate-reregistered": "look at the crate at crates.io: other bytes stand under a version that "
    "was deleted before",
    "crate-record-damaged": "restore the state directory from a backup, or remove the record; the "
    "crate is not updated until then",
    "dated-differs": "look at upstream: what stands under a date changed; the first one is kept",
    "channel-not-recovered": _DISK,
    "pin-removed": _WITHDRAWN,
    "unvouched-withdrawn": _WITHDRAWN,
    "generations-withdrawn": _WITHDRAWN,
    "unsigned-withdrawn": _WITHDRAWN,
    "unsigned-not-withdrawn": "restart when the reason is gone: what [trust] no longer admits may "
    "still be served",
    "not-reproved": "see the reason; what is concerned is proved anew when upstream answers, or "
    "fetched again",
    "not-distrusted": _DISK,
    # disk
    "not-stored": _DISK,
    "no-room": "raise [store] budget, or pin less",
    "pass-through": "raise [store] budget or max_object, or make room on the disk: the object was "
    "served, but not kept",
    "body-left-by-store": _DISK,
    "not-attested": _DISK,
    "not-quarantined": _DISK,
    "not-coded": _DISK,
    "not-scrubbed": _DISK,
    "scrub-waits": _DISK,
    "not-healed": "nothing, if upstream is away: it is fetched when it is asked for; else see the "
    "reason",
    "index-damaged": "check the disk (smartctl, kernel messages); the index is made anew from the "
    "stored files",
    "index-not-repaired": _DISK,
    "state-lost": "restore state.db from a backup if there is one; else nothing: the ledger, the "
    "newest date per channel and the histories of crates begin anew, stored objects stay verified",
    "crate-memory-not-written": _STATE_DISK,
    # upstream
    "upstream-failed": "if it lasts, look at the network, the egress proxy and upstream's status "
    "page; what is stored is served",
    "upstream-trouble": "if it lasts, look at the network, the egress proxy and upstream's status "
    "page",
    "fill-failed": "see the reason; the next request tries again",
    # mistakes of the mirror's
    "request-failed": _BUG,
    "answer-crashed": _BUG,
    "ask-crashed": _BUG,
    "fill-crashed": _BUG,
    "range-crashed": _BUG,
    "check-crashed": _BUG,
    "coding-crashed": _BUG,
    "scrub-crashed": _BUG,
    "verb-crashed": _BUG,
    "heal-crashed": _BUG,
}

NEEDS_NOBODY: Final[dict[str, str]] = {
    "request-refused": "a client sent what is no valid request; told to help its owner",
    "stop-forced": "somebody asked for it by a second signal",
    "release-accepted": "[trust] accept says so; told because it is an exception",
    "index-repair-begun": "a lost index or a power cut; `rust-mirror status` shows how far it is, "
    "index-rescanned tells its end",
    "channel-skew": "upstream is in the middle of a release; the last good one is served meanwhile",
    "manifest-not-read": "the .sha256 files vouch instead",
    "upstream-changed": "another version came while one was fetched; it is asked for again",
    "crates-withdrawn": "upstream deleted them; they are not served any more",
    "crates-deleted": "upstream deleted them",
    "crates-listed-again": "upstream lists again, with the same bytes, what it had deleted",
}
