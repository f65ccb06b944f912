"""The smallest honest reverse proxy on the same stack: it passes everything on and decides nothing.

python -m benchmarks.serving._proxy --upstream URL --port PORT
"""

import argparse
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

_KEPT = ("content-type", "retry-after")


def create_app(upstream: str) -> Starlette:
    """Return the application before an upstream's base URL."""
    sessions: list[aiohttp.ClientSession] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            sessions.append(session)
            yield

    async def passed(request: Request) -> Response:
        answer = await sessions[0].post(
            f"{upstream}/{request.path_params['path']}",
            data=await request.body(),
            headers={"content-type": request.headers["content-type"]},
        )
        headers = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
        if "content-length" in answer.headers:
            return Response(await answer.read(), answer.status, headers)
        return StreamingResponse(_pieces(answer), answer.status, headers)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(
        routes=[Route("/v1/{path:path}", passed, methods=["POST"]), Route("/healthz", healthz)],
        lifespan=lifespan,
    )


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with answer:
        async for data in answer.content.iter_any():
            yield data


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    uvicorn.run(
        create_app(arguments.upstream),
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
