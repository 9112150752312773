"""The certificate over time: its files are looked at, and its end is told before it comes.

Rules:
1. A change is taken when two looks in a row see the same files: certificate and key are two writes,
   and between them they do not belong together.
2. What cannot be used changes nothing and is told once per state of the files
   (`certificate-refused`).
3. An expiry within `WARN_BEFORE_S` is told once a day; an expired certificate too, because clients
   refuse it.
4. What rustup refuses whatever it trusts is told when it is loaded (`certificate-unfit`).

Does not: replace workers; `supervisor.Supervisor` does.
Units: seconds of the monotonic clock for looks, Unix seconds for dates.
Runs in: supervisor.
"""

from __future__ import annotations

from datetime import UTC, datetime

from mirror.clock import Clock
from mirror.config import Serve
from mirror.errors import ConfigError
from mirror.events import EventLog
from mirror.supervisor.tls_context import Credentials, Identity, identity_of, load_credentials
from mirror.supervisor.tls_probe import ShownCertificate

LOOK_S = 1.0
WARN_BEFORE_S = 14 * 86400.0
WARN_AGAIN_S = 86400.0
_UNFIT_HINT = "for trials, `rust-mirror dev-cert` makes a CA and a certificate that clients take"


class CertificateWatch:
    """Looks at the files of the credentials in force."""

    def __init__(self, clock: Clock, events: EventLog) -> None:
        self._clock = clock
        self._events = events
        self._look_at = 0.0
        self._seen: Identity = ()
        self._refused: Identity = ()
        self._warn_at = 0.0

    def load(self, serve: Serve) -> Credentials | None:
        """Return the credentials of `serve`, and tell what they are. Raises: ConfigError."""
        try:
            loaded = load_credentials(serve)
        except ConfigError as exc:
            self._refused = identity_of(serve.tls)
            self._events.error("certificate-refused", key=exc.key, reason=exc.message)
            raise
        if loaded is not None:
            self._tell(loaded)
        return loaded

    def look(self, serve: Serve, current: Credentials | None) -> Credentials | None:
        """Return other credentials than `current` when the files have changed to usable ones."""
        now = self._clock.monotonic()
        if current is None or now < self._look_at:
            return None
        self._look_at = now + LOOK_S
        self._warn(current)
        identity = identity_of(current.settings)
        is_settled, self._seen = identity == self._seen, identity
        if not is_settled or identity in (current.identity, self._refused):
            return None
        try:
            return self.load(serve)
        except ConfigError:
            return None

    def _tell(self, loaded: Credentials) -> None:
        shown = loaded.shown
        self._events.info(
            "certificate-loaded",
            subject=shown.subject,
            names=list(shown.names),
            not_after=_date_text(shown.not_after_at),
        )
        unfit = _unfit(shown)
        if unfit:
            file = loaded.settings.certificate
            self._events.warning("certificate-unfit", file=file, reason=unfit, hint=_UNFIT_HINT)
        self._warn_at = 0.0
        self._warn(loaded)

    def _warn(self, current: Credentials) -> None:
        now, shown = self._clock.now(), current.shown
        left_s = shown.not_after_at - now
        if now < self._warn_at or (left_s > WARN_BEFORE_S and shown.not_before_at <= now):
            return
        self._warn_at = now + WARN_AGAIN_S
        file, not_after = current.settings.certificate, _date_text(shown.not_after_at)
        if left_s <= 0:
            self._events.error("certificate-expired", file=file, not_after=not_after)
        elif shown.not_before_at > now:
            not_before = _date_text(shown.not_before_at)
            self._events.error("certificate-not-yet-valid", file=file, not_before=not_before)
        else:
            days = int(left_s // 86400)
            self._events.warning("certificate-expires", file=file, not_after=not_after, days=days)


def _unfit(shown: ShownCertificate) -> str:
    if not shown.names:
        return "it has no subjectAltName, and rustup looks at no other name"
    return "it is self-signed; if it is a CA too, rustup refuses it" if shown.is_self_signed else ""


def _date_text(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
