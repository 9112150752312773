"""An upstream that plays a script.

Rules:
1. An upstream object is served with validators, ranges and 304s unless a step of its script says
   otherwise; every step that was played is counted, so that a test can say that its fault fired.

Runs in: tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field

from mirror.errors import UpstreamError


@dataclass(kw_only=True)
class Step:
    """What happens to one request instead of a good answer; fields left empty change nothing."""

    status: int = 0  # answered with this status and no content
    error: str = ""  # no answer: the pool gives up
    cut_at: int = -1  # the body breaks after so many of its bytes
    content: bytes | None = None  # other content, with its own length
    fields: dict[str, str] = field(default_factory=dict)
    ignores_range: bool = False
    gate: asyncio.Event | None = None  # the head waits for it
    body_gate: asyncio.Event | None = None  # the rest behind `gate_at` waits for it
    gate_at: int = 0


@dataclass(kw_only=True)
class Resource:
    content: bytes
    etag: str = ""
    last_modified: str = ""
    has_length: bool = True
    has_gzip: bool = True
    chunk: int = 65536
    steps: list[Step] = field(default_factory=list)


@dataclass(kw_only=True)
class Request:
    path: str
    fields: dict[str, str]
    sent: int = 0
    status: int = 0


class Response:
    def __init__(
        self, request: Request, status: int, fields: Mapping[str, str], body: AsyncIterator[bytes]
    ) -> None:
        request.status = status
        self.status = status
        self.fields = fields
        self.stated_sha256 = b""
        self._body = body

    def chunks(self) -> AsyncIterator[bytes]:
        return self._body


class ScriptedPool:
    """An upstream; what is not in `resources` is answered with `absent_status`."""

    def __init__(self) -> None:
        self.resources: dict[str, Resource] = {}
        self.requests: list[Request] = []
        self.played: list[Step] = []
        self.absent_status = 404
        self.outage = ""
        self.wish_s = 0.0  # its Retry-After, while it is out
        self.open = 0

    def put(self, path: str, content: bytes, *, etag: str = "auto", **more: object) -> Resource:
        tag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
        resource = Resource(content=content, etag=tag if etag == "auto" else etag)
        for name, value in more.items():
            setattr(resource, name, value)
        self.resources[path] = resource
        return resource

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def sent(self, path: str) -> int:
        return sum(request.sent for request in self.requests if request.path == path)

    @contextlib.asynccontextmanager
    async def get(
        self, path: str, *, fields: Mapping[str, str], expected_sha256: bytes = b""
    ) -> AsyncIterator[Response]:
        request = Request(path=path, fields=dict(fields))
        self.requests.append(request)
        if self.outage:
            raise UpstreamError(
                "upstream", self.outage, upstream_status=503, retry_after_s=self.wish_s
            )
        resource = self.resources.get(path)
        step = Step()
        if resource is not None and resource.steps:
            step = resource.steps.pop(0)
            self.played.append(step)
        self.open += 1
        try:
            if step.gate is not None:
                await step.gate.wait()
            if step.error:
                raise UpstreamError("upstream", step.error)
            yield self._response(request, resource, step)
        finally:
            self.open -= 1

    def _response(self, request: Request, resource: Resource | None, step: Step) -> Response:
        if step.status or resource is None:
            return Response(request, step.status or self.absent_status, {}, _no_body())
        fields = {"etag": resource.etag, "last-modified": resource.last_modified}
        fields = {name: value for name, value in fields.items() if value}
        if resource.etag and request.fields.get("If-None-Match") == resource.etag:
            return Response(request, 304, fields, _no_body())
        content = resource.content if step.content is None else step.content
        status, start = 200, 0
        range_ = request.fields.get("Range", "")
        end = len(content)
        counts = request.fields.get("If-Range", resource.etag) == resource.etag
        if range_ and not step.ignores_range and counts:
            start, end = _range(range_, len(content))
            if start >= end:
                return Response(request, 416, {}, _no_body())
            status = 206
            fields["content-range"] = f"bytes {start}-{end - 1}/{len(content)}"
        body = content[start:end]
        if resource.has_gzip and request.fields.get("Accept-Encoding") == "gzip":
            body = gzip.compress(body)
            fields["content-encoding"] = "gzip"
        if resource.has_length:
            fields["content-length"] = str(len(body))
        fields.update(step.fields)
        return Response(request, status, fields, _body(request, resource, step, body))


def _range(field: str, length: int) -> tuple[int, int]:
    first, _, last = field.removeprefix("bytes=").partition("-")
    if not first:
        return max(0, length - int(last)), length
    return int(first), min(int(last) + 1, length) if last else length


async def _no_body() -> AsyncGenerator[bytes, None]:
    nothing: tuple[bytes, ...] = ()
    for chunk in nothing:
        yield chunk


async def _body(
    request: Request, resource: Resource, step: Step, body: bytes
) -> AsyncGenerator[bytes, None]:
    at = 0
    while at < len(body):
        end = min(at + resource.chunk, len(body))
        if step.body_gate is not None:
            if at >= step.gate_at:
                await step.body_gate.wait()
            else:
                end = min(end, step.gate_at)
        if 0 <= step.cut_at < end:
            end = step.cut_at
        request.sent += end - at
        if end > at:
            yield body[at:end]
        if end == step.cut_at:
            raise UpstreamError("upstream", "the content broke off", upstream_status=200)
        at = end
        await asyncio.sleep(0)
