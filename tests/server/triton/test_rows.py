"""Rows one after the other are the same rows."""

import numpy as np
import pytest

from server.errors import ExecutionFailedError, OutOfMemoryError
from server.triton.contract import DENOISER, DENOISER_CACHED, PREVIEW_DENOISER, Arrays, Network
from server.triton.rows import RowsEngine
from tests.support.fake_engine import FakeEngine
from tests.support.short_of_memory import ShortOfMemory

SIZES = {
    "latent_frames": 3,
    "latent_height": 4,
    "latent_width": 4,
    "heard_frames": 13,
    "text_tokens": 8,
    "audio_tokens": 20,
    "token_rows": 2,
    "token_columns": 2,
    "texts": 2,
    "tokens": 12,
    "rows": 3,
}


def inputs_of(network: Network) -> Arrays:
    random = np.random.default_rng(0)

    def drawn(dims: tuple[int | str, ...]) -> tuple[int, ...]:
        return (1, *(SIZES.get(d, 8) if isinstance(d, str) else d for d in dims))

    return {
        tensor.name: random.integers(0, 5, drawn(tensor.dims))
        if tensor.dtype == "INT64"
        else random.standard_normal(drawn(tensor.dims)).astype(np.float32)
        for tensor in network.inputs
    }


@pytest.mark.parametrize("network", [DENOISER, PREVIEW_DENOISER], ids=["flash", "preview"])
async def test_rows_are_parted_for_good_where_memory_is_short(network: Network) -> None:
    inputs = inputs_of(network)
    together = await FakeEngine().run(network, inputs)
    short = ShortOfMemory(room=3)
    told: list[str] = []
    engine = RowsEngine(short, told.append)
    gains = {name: inputs[name] for name in ("audio_gain", "text_gain") if name in inputs}
    shared = {name: array for name, array in inputs.items() if name not in gains}
    async with engine.place(network, shared) as placed:
        for _ in range(2):
            apart = await placed.run(gains, ["velocity", "residual"])
            for name, array in apart.items():
                np.testing.assert_allclose(array, together[name], rtol=1e-6, atol=1e-6)
    assert short.refused == [(3, 3)]
    assert short.ran == [(1, 3)] * 6
    assert told == ["denoiser"]


async def test_residuals_are_handed_to_their_rows() -> None:
    inputs = inputs_of(DENOISER_CACHED)
    together = await FakeEngine().run(DENOISER_CACHED, inputs)
    engine = RowsEngine(FakeEngine(), lambda _: None)
    engine.part(DENOISER_CACHED)
    apart = await engine.run(DENOISER_CACHED, inputs)
    np.testing.assert_array_equal(apart["velocity"], together["velocity"])


async def test_a_row_that_has_no_room_alone_is_refused() -> None:
    engine = RowsEngine(ShortOfMemory(room=2), lambda _: None)
    with pytest.raises(OutOfMemoryError):
        await engine.run(DENOISER, inputs_of(DENOISER))


async def test_other_failures_part_nothing() -> None:
    fake = FakeEngine()
    fake.error = ExecutionFailedError("denoiser", "the execution failed")
    engine = RowsEngine(fake, lambda _: None)
    with pytest.raises(ExecutionFailedError):
        await engine.run(DENOISER, inputs_of(DENOISER))
    assert not engine.are_apart
