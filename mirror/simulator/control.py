"""The control listener: verbs for tests and the demo, JSON over HTTP.

| verb | content | answer |
|---|---|---|
| GET /state | | urls, fingerprint, releases, rustup version, number of crates, serving |
| GET /counts | | total, classes, objects, connections, faults_fired |
| POST /reset-counts | | {} |
| GET /log?since=N | | {"records": […]} |
| POST /faults | a list of rules (`faults.py`) | {"ids": […]} |
| POST /clear-faults | | {} |
| POST /advance | {"channel": "stable"} | {"published": "1.95.0"} |
| POST /publish-crate | {"name", "vers", "deps": {"name": "^1"}} | {} |
| POST /yank | {"name", "vers", "yanked": true} | {"found": true} |
| POST /delete-crate | {"name"} | {"found": true} |
| POST /stop-serving, /resume-serving | | {} |

The verbs that attack are in `attack_verbs.py`.

Rules:
1. A wrong request is 400 with `{"error": …}`; an unknown verb 404.
2. Fields are checked only as far as a test's mistake would otherwise stay silent.

Runs in: simulator.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from mirror.simulator.attack_verbs import AttackVerbs, Verb
from mirror.simulator.crate_package import Dependency
from mirror.simulator.faults import parse_rules
from mirror.simulator.simulator import Simulator

_LARGEST_CONTENT_BYTES = 64 << 20  # an archive in base64, for `replace`


class Control:
    """The verbs, each taking the decoded content."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def application(self) -> web.Application:
        """Return the aiohttp application with every verb routed."""
        application = web.Application(client_max_size=_LARGEST_CONTENT_BYTES)
        application.router.add_get("/state", _handler(self.state))
        application.router.add_get("/counts", _handler(self.counts))
        application.router.add_get("/log", self._log)
        verbs: dict[str, Verb] = {
            "/reset-counts": self.reset_counts,
            "/faults": self.add_faults,
            "/clear-faults": self.clear_faults,
            "/advance": self.advance,
            "/publish-crate": self.publish_crate,
            "/yank": self.yank,
            "/delete-crate": self.delete_crate,
            "/stop-serving": self.stop_serving,
            "/resume-serving": self.resume_serving,
            **AttackVerbs(self._simulator.upstream).by_path(),
        }
        for path, verb in verbs.items():
            application.router.add_post(path, _handler(verb))
        return application

    async def state(self, _content: Any) -> Mapping[str, object]:
        upstream = self._simulator.upstream
        return {
            "releases_url": self._simulator.releases_url,
            "crates_url": self._simulator.crates_url,
            "index_url": self._simulator.index_url,
            "fingerprint": upstream.signer.fingerprint,
            "releases": [
                {"channel": item.channel, "number": item.number, "date": str(item.day)}
                for item in upstream.dist.releases
            ],
            "rustup": upstream.rustup.version,
            "crates": len(upstream.registry),
            "is_serving": self._simulator.listeners.is_serving,
        }

    async def counts(self, _content: Any) -> Mapping[str, object]:
        fired = dict(self._simulator.faults.fired)
        return {**self._simulator.tally.as_json(), "faults_fired": fired}

    async def reset_counts(self, _content: Any) -> Mapping[str, object]:
        self._simulator.tally.reset()
        self._simulator.faults.reset()
        return {}

    async def add_faults(self, content: Sequence[Mapping[str, object]]) -> Mapping[str, object]:
        return {"ids": self._simulator.faults.add(parse_rules(content))}

    async def clear_faults(self, _content: Any) -> Mapping[str, object]:
        self._simulator.faults.clear()
        return {}

    async def advance(self, content: Mapping[str, str]) -> Mapping[str, object]:
        return {"published": self._simulator.upstream.advance(content.get("channel", "stable"))}

    async def publish_crate(self, content: Mapping[str, Any]) -> Mapping[str, object]:
        dependencies = [
            Dependency(name=name, requirement=requirement)
            for name, requirement in content.get("deps", {}).items()
        ]
        self._simulator.upstream.publish_crate(
            content["name"], content["vers"], dependencies, time.time()
        )
        return {}

    async def yank(self, content: Mapping[str, Any]) -> Mapping[str, object]:
        found = self._simulator.upstream.registry.yank(
            content["name"],
            content["vers"],
            yanked=content.get("yanked", True),
            at=int(time.time()),
        )
        return {"found": found}

    async def delete_crate(self, content: Mapping[str, str]) -> Mapping[str, object]:
        return {"found": self._simulator.upstream.registry.delete(content["name"])}

    async def stop_serving(self, _content: Any) -> Mapping[str, object]:
        await self._simulator.listeners.stop()
        return {}

    async def resume_serving(self, _content: Any) -> Mapping[str, object]:
        await self._simulator.listeners.start()
        return {}

    async def _log(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", "0"))
        return web.json_response({"records": self._simulator.tally.log(since)})


def _handler(verb: Verb) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        content = await request.read()
        try:
            return web.json_response(await verb(json.loads(content) if content else {}))
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            return web.json_response({"error": f"{type(exc).__name__}: {exc}"}, status=400)

    return handle
