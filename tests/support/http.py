"""HTTP beside a served gateway, and what a client of it reads."""

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx2
import numpy as np
import soundfile
from numpy.typing import NDArray

from server.access.tls import Tls
from server.http.app import make_app
from server.http.listener import HttpListener
from server.metrics import Metrics
from tests.support.serving import Served


@asynccontextmanager
async def by_http(
    served: Served,
    works: Callable[[], bool] = lambda: True,
    tls: Tls | None = None,
    authority: bytes | None = None,
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client, who may believe an authority, for the HTTP side of a gateway that is served."""
    settings = served.gateway.offer.settings
    recorder = served.gateway.recorder
    app = make_app(served.gateway, works, recorder.page if isinstance(recorder, Metrics) else None)
    listener = HttpListener(app, settings, port=0, tls=tls)
    believed = ssl.create_default_context(cadata=authority.decode()) if authority else True
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listener.run())
        try:
            async with httpx2.AsyncClient(
                base_url=listener.url, timeout=60, verify=believed
            ) as client:
                yield client
        finally:
            await listener.stop()


def wav(samples: NDArray[np.int16], rate: int = 16_000, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype="PCM_16")
    return file.getvalue()
