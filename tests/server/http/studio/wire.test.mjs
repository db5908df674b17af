import assert from "node:assert/strict";
import test from "node:test";

import { headersWith, PcmReader, protocolsWith, Reader, seconds, startMessage, toPcm } from "../../../../server/http/studio/wire.mjs";

test("durations are read as protobuf's JSON writes them", () => {
  assert.equal(seconds("0.960s"), 0.96);
  assert.equal(seconds("12s"), 12);
  assert.equal(seconds(undefined), 0);
});

test("a frame is a text and the picture after it", () => {
  const reader = new Reader();
  const frame = { index: "7", utterance_id: "1", first_audio_sample: "12345678901", data: "" };
  assert.equal(reader.read(JSON.stringify({ frame })), null);
  const picture = new ArrayBuffer(3);
  assert.deepEqual(reader.read(picture), {
    kind: "frame",
    body: { index: 7, utterance: 1, sample: 12345678901, picture },
  });
  assert.equal(reader.read(picture), null);
});

test("a stream's beginning says rate, size and buffer", () => {
  const started = {
    video_format: {
      width: 128,
      height: 96,
      frames_per_second: 30000,
      frames_per_second_denominator: 1001,
    },
    windows: { advised_buffer: "0.960s" },
  };
  const { kind, body } = new Reader().read(JSON.stringify({ started }));
  assert.equal(kind, "started");
  assert.deepEqual(body, { width: 128, height: 96, frames: 30000, perSeconds: 1001, bufferS: 0.96 });
});

test("an utterance's ends tell which they are", () => {
  const read = (phase) =>
    new Reader().read(
      JSON.stringify({
        utterance: { utterance_id: "2", phase, frame_index: "50", audio_sample: "88200" },
      }),
    ).body;
  const expected = { utterance: 2, index: 50, sample: 88200 };
  assert.deepEqual(read("UTTERANCE_PHASE_BEGAN"), { ...expected, hasEnded: false });
  assert.deepEqual(read("UTTERANCE_PHASE_ENDED"), { ...expected, hasEnded: true });
});

test("other messages come as they are", () => {
  const warning = { reason: "PORTRAIT_SMALL", message: "…" };
  const read = new Reader().read(JSON.stringify({ warning }));
  assert.deepEqual(read, { kind: "warning", body: warning });
});

test("samples become 16 bits, little-endian, and loud ones are clipped", () => {
  const pcm = toPcm(new Float32Array([0, 1, -1, 2, -2, 0.5]));
  const read = Array.from({ length: 6 }, (_, n) => new DataView(pcm).getInt16(2 * n, true));
  assert.deepEqual(read, [0, 32767, -32767, 32767, -32767, 16384]);
});

test("16 bits become samples, cut anywhere", () => {
  const bytes = new Uint8Array(toPcm(new Float32Array([0.5, -0.5, 0.25])));
  const reader = new PcmReader();
  const read = [...bytes].flatMap((byte) => [...reader.read(new Uint8Array([byte]))]);
  assert.equal(read.length, 3);
  read.forEach((sample, n) => assert.ok(Math.abs(sample - [0.5, -0.5, 0.25][n]) < 1e-4));
});

test("a key is shown where there is one", () => {
  assert.deepEqual(headersWith(""), {});
  assert.deepEqual(headersWith("k"), { authorization: "Bearer k" });
  assert.deepEqual(protocolsWith(""), ["echomimic.v1"]);
  assert.deepEqual(protocolsWith("k"), ["echomimic.v1", "bearer.k"]);
});

test("a stream is opened with the portrait and the rate of its sound", () => {
  const { start } = startMessage("AAAA", 44100);
  assert.equal(start.portrait.image, "AAAA");
  assert.deepEqual(start.audio_format, {
    encoding: "AUDIO_ENCODING_PCM_S16LE",
    sample_rate_hz: 44100,
    channels: 1,
  });
});
