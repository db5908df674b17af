"""Wav2Vec2 as preview uses it, against the authors' program, from the 16 kHz waveform on."""

import pytest
import torch

from export.models.audio_encoder import PreviewAudioEncoder, load_audio_encoder
from tests.export.models.test_audio_flash import standardised, weights
from tests.support.reference import assert_close, reference_fixture

TOLERANCE = 1e-4


def test_every_stage_equals_the_reference(subtests: pytest.Subtests) -> None:
    fixture = reference_fixture("audio_preview")
    encoder = PreviewAudioEncoder(
        load_audio_encoder(weights(fixture), fixture.config["wav2vec2_config"])
    )
    assert fixture.config["cases"]
    for clip in (case["name"] for case in fixture.config["cases"]):
        waveform = standardised(fixture.inputs[f"{clip}.wave16k"])[None]
        with torch.inference_mode():
            features = encoder(torch.from_numpy(waveform))[0].numpy()
        for stage, array in {"input_values": waveform, "features": features}.items():
            with subtests.test(msg=f"{clip}.{stage}"):
                assert_close(array, fixture.outputs[f"{clip}.{stage}"], TOLERANCE)
