"""The gateway's routes. A session is named by its key, or by the path (`/s/NAME/...`) with the gateway's own key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from repodojo.core.errors import OutageError
from repodojo.gateway import box
from repodojo.gateway.asks import GatewayError, Kind
from repodojo.gateway.dialects.base import Dialect, Strict, data, read
from repodojo.gateway.dialects.chat import ChatCompletions
from repodojo.gateway.dialects.messages import AnthropicMessages
from repodojo.gateway.dialects.responses import Responses
from repodojo.gateway.export import exported
from repodojo.gateway.limits import Admission, App, read_body
from repodojo.gateway.registry import Gateway
from repodojo.gateway.rendering import render
from repodojo.gateway.session import Exchange, Session

DIALECTS: dict[str, Dialect] = {
    "/chat/completions": ChatCompletions(),
    "/responses": Responses(),
    "/messages": AnthropicMessages(),
}
IN_A_THREAD = 1 << 20  # bodies from here on are parsed beside the event loop


class _Open(Strict):
    name: str = Field("", max_length=128)


class Routes:
    """The endpoints over one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    def app(self) -> App:
        """The ASGI application."""
        inner = FastAPI(title="Repodojo gateway", docs_url=None, redoc_url=None, openapi_url=None)
        inner.add_exception_handler(GatewayError, self._refused)
        inner.add_exception_handler(HTTPException, self._refused)
        inner.add_exception_handler(ClientDisconnect, _left)
        inner.add_exception_handler(Exception, self._failed)
        for prefix in ("/v1", "/s/{name}/v1"):
            for path, dialect in DIALECTS.items():
                inner.add_route(prefix + path, self._answering(dialect), methods=["POST"])
            inner.add_route(f"{prefix}/messages/count_tokens", self._count, methods=["POST"])
            inner.add_route(f"{prefix}/models", self._models, methods=["GET"])
        inner.add_route("/box/exec", self._exec, methods=["POST"])
        inner.add_route("/sessions", self._open, methods=["POST"])
        inner.add_route("/sessions/{name}", self._session, methods=["GET", "DELETE"])
        return Admission(inner, self.gateway.bounds, refusal)

    def _admit(self, request: Request) -> Session:
        return self.gateway.admit(_key(request), request.path_params.get("name", ""))

    def _answering(self, dialect: Dialect) -> Any:
        async def answer(request: Request) -> Response:
            session = self._admit(request)
            body = await read_body(request.headers, request.stream(), self.gateway.bounds)
            if len(body) > IN_A_THREAD:
                ask = await asyncio.to_thread(dialect.parse, body, session)
            else:
                ask = dialect.parse(body, session)
            exchange = session.prepare(ask)
            headers = {"x-repodojo-warning": "; ".join(exchange.warnings)} if exchange.warnings else {}
            if ask.stream:
                headers["cache-control"] = "no-cache"
                return StreamingResponse(_events(dialect, exchange), media_type="text/event-stream", headers=headers)
            reply = await while_connected(request, exchange)
            return JSONResponse(dialect.whole(exchange, reply), headers=headers)

        return answer

    async def _count(self, request: Request) -> Response:
        session = self._admit(request)
        ask = AnthropicMessages().count(await read_body(request.headers, request.stream(), self.gateway.bounds))
        return JSONResponse({"input_tokens": len(render(session.chat, ask, None, 0))})

    async def _models(self, request: Request) -> Response:
        self._admit(request)
        model = {"id": "policy", "object": "model", "created": 0, "owned_by": "repodojo"}
        return JSONResponse({"object": "list", "data": [model]})

    async def _exec(self, request: Request) -> Response:
        session = self._admit(request)
        body = await read_body(request.headers, request.stream(), self.gateway.bounds)
        given = read(box.Command, body)
        try:
            return JSONResponse(await box.execute(session, given))
        except OutageError as error:
            session.outage = session.outage or error
            raise GatewayError("api", error.cause) from error

    async def _open(self, request: Request) -> Response:
        self._must_own(request)
        body = await read_body(request.headers, request.stream(), self.gateway.bounds)
        session, key = self.gateway.open(read(_Open, body or b"{}").name)
        return JSONResponse({"session": session.id, "key": key}, status_code=201)

    async def _session(self, request: Request) -> Response:
        """What a session holds, for its own key or the gateway's; DELETE forgets it after that."""
        name = request.path_params["name"]
        if self.gateway.owns(_key(request)) and name not in self.gateway.sessions:
            raise GatewayError("not_found", f"no session {name!r}")
        session = self._admit(request)
        found = exported(session)
        if request.method == "DELETE":
            self._must_own(request)
            self.gateway.close(session.id)
        return JSONResponse(found)

    def _must_own(self, request: Request) -> None:
        if not self.gateway.owns(_key(request)):
            raise GatewayError("authentication", "only the gateway's own key may do this", code="invalid_api_key")

    async def _failed(self, request: Request, error: Exception) -> Response:
        """A fault of the gateway's own: kept, so that no episode that met it is scored."""
        self.gateway.failure = self.gateway.failure or error
        return refusal(request.url.path, GatewayError("api", "internal server error"))

    async def _refused(self, request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            kind: Kind = "not_found" if error.status_code in (404, 405) else "invalid"
            error = GatewayError(kind, f"{request.method} {request.url.path}: {error.detail}")
        assert isinstance(error, GatewayError)
        return refusal(request.url.path, error)


async def _left(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


def refusal(path: str, error: GatewayError) -> Response:
    """An error in the form of the API that the path belongs to."""
    dialect = next((d for end, d in DIALECTS.items() if end in path), DIALECTS["/chat/completions"])
    status = 503 if error.kind == "overloaded" and not isinstance(dialect, AnthropicMessages) else error.status
    headers = {"retry-after": "1"} if error.kind in ("rate", "overloaded") else {}
    return JSONResponse(dialect.error(error), status_code=status, headers=headers)


async def _events(dialect: Dialect, exchange: Exchange) -> AsyncIterator[str]:
    """The stream; what fails in its middle becomes its last event, since the status has been sent."""
    try:
        async for event in dialect.events(exchange):
            yield event
    except GatewayError as error:
        name = "error" if isinstance(dialect, AnthropicMessages) else ""
        yield data(dialect.error(error), name)


async def while_connected(request: Request, exchange: Exchange) -> Any:
    """The whole reply; a client that leaves stops the sampling."""
    answering = asyncio.ensure_future(exchange.answer())
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        raise ClientDisconnect
    finally:
        for task in (answering, leaving):
            task.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _key(request: Request) -> str:
    """The key, where OpenAI's clients put it or where Anthropic's do."""
    bearer = request.headers.get("authorization", "")
    scheme, _, token = bearer.partition(" ")
    return request.headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else "")
