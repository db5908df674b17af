"""Asks a gateway as Triton's own client does."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult
from tritonclient.utils import InferenceServerException

MODEL = "avatar"


def audio(samples: NDArray[np.int16]) -> InferInput:
    """The input `audio`."""
    tensor = InferInput("audio", list(samples.shape), "INT16")
    tensor.set_data_from_numpy(samples)
    return tensor


def portrait(data: bytes) -> InferInput:
    """The input `portrait`."""
    tensor = InferInput("portrait", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([data], dtype=np.object_))
    return tensor


def asked(*inputs: InferInput, **words: Any) -> Mapping[str, Any]:
    """A request, which wants to be told of its end."""
    fixed = {"model_name": MODEL, "enable_empty_final_response": True}
    return {**fixed, "inputs": list(inputs), **words}


@dataclass(frozen=True)
class Answer:
    """A response, or why a request was refused."""

    id: str
    is_final: bool
    frame: bytes | None = None
    index: int | None = None
    time_ns: int | None = None
    warnings: str = ""
    error: str = ""


class Stream:
    """A stream of Triton's client, whose answers are waited for."""

    def __init__(self, client: InferenceServerClient) -> None:
        self._client = client
        self._answers: asyncio.Queue[Answer] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def called_back(result: Any, error: Any) -> None:
            loop.call_soon_threadsafe(self._answers.put_nowait, _answer(result, error))

        client.start_stream(called_back)

    def send(self, *requests: Mapping[str, Any]) -> None:
        for request in requests:
            self._client.async_stream_infer(**request)

    async def answer(self) -> Answer:
        """The next one."""
        async with asyncio.timeout(20):
            return await self._answers.get()

    async def finish(self, *, cancel: bool = False) -> list[Answer]:
        """Half-closes, or cancels; returns every answer that has not been taken."""
        await asyncio.to_thread(self._client.stop_stream, cancel_requests=cancel)
        # What another thread has called back is in the queue a turn of the loop later.
        await asyncio.sleep(0)
        return [self._answers.get_nowait() for _ in range(self._answers.qsize())]


@asynccontextmanager
async def streaming(address: str) -> AsyncIterator[Stream]:
    """A stream to a gateway."""
    client = InferenceServerClient(address)
    try:
        yield Stream(client)
    finally:
        # Closes the stream, too.
        await asyncio.to_thread(client.close)


async def ask(address: str, *requests: Mapping[str, Any]) -> list[Answer]:
    """Sends requests on one stream, half-closes, and returns every answer."""
    async with streaming(address) as stream:
        stream.send(*requests)
        return await stream.finish()


def _answer(result: InferResult | None, error: InferenceServerException | None) -> Answer:
    if result is None:
        return Answer("", is_final=True, error=str(error))
    response: Any = result.get_response()
    frame, index, time_ns = (
        None if tensor is None else tensor[0]
        for tensor in map(result.as_numpy, ("frame", "index", "presentation_time_ns"))
    )
    return Answer(
        id=response.id,
        is_final=response.parameters["triton_final_response"].bool_param,
        frame=frame,
        index=index,
        time_ns=time_ns,
        warnings=response.parameters["warnings"].string_param,
    )
