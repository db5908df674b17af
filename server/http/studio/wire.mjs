// What goes over /v1/stream: the contract's messages in protobuf's JSON, sound and pictures bare.

const PCM_FULL_SCALE = 32767;

/** Returns seconds of a duration as protobuf's JSON writes it, "1.500s". */
export function seconds(duration) {
  return duration ? Number.parseFloat(duration) : 0;
}

/** Returns the protocols by which a socket shows a key, since browsers set no headers of sockets. */
export function protocolsWith(key) {
  return key ? ["echomimic.v1", `bearer.${key}`] : ["echomimic.v1"];
}

/** Returns the headers by which a request shows a key. */
export function headersWith(key) {
  return key ? { authorization: `Bearer ${key}` } : {};
}

/**
 * Returns the message that opens a stream.
 * @param {string} image the portrait's file in base64
 * @param {number} rate samples a second of the sound that follows, s16 and mono
 */
export function startMessage(image, rate) {
  return {
    start: {
      client_session_id: "studio",
      portrait: { image },
      audio_format: {
        encoding: "AUDIO_ENCODING_PCM_S16LE",
        sample_rate_hz: rate,
        channels: 1,
      },
      video_format: { encoding: "FRAME_ENCODING_JPEG" },
    },
  };
}

/** Returns samples in [-1, 1] as s16, little-endian; louder ones are clipped. */
export function toPcm(samples) {
  const view = new DataView(new ArrayBuffer(2 * samples.length));
  samples.forEach((sample, n) => {
    const clipped = Math.max(-1, Math.min(1, sample));
    view.setInt16(2 * n, Math.round(clipped * PCM_FULL_SCALE), true);
  });
  return view.buffer;
}

/** Takes s16 apart again, whatever pieces it comes in. */
export class PcmReader {
  #rest = new Uint8Array(0);

  /** Returns the samples in [-1, 1] that some bytes complete. */
  read(bytes) {
    const all = new Uint8Array(this.#rest.length + bytes.length);
    all.set(this.#rest);
    all.set(bytes, this.#rest.length);
    const count = all.length >> 1;
    this.#rest = all.slice(2 * count);
    const view = new DataView(all.buffer);
    return Float32Array.from({ length: count }, (_, n) => view.getInt16(2 * n, true) / 32768);
  }
}

/** Puts answers together: a frame is a text and the picture after it. */
export class Reader {
  #frame = null;

  /**
   * Returns {kind, body}, or null where the picture is still to come.
   * @param {string|ArrayBuffer} data a message of the socket
   */
  read(data) {
    if (typeof data !== "string") {
      const frame = this.#frame;
      this.#frame = null;
      return frame && { kind: "frame", body: { ...frame, picture: data } };
    }
    const [[kind, body]] = Object.entries(JSON.parse(data));
    if (kind === "frame") {
      this.#frame = frameOf(body);
      return null;
    }
    const read = BODIES[kind];
    return { kind, body: read ? read(body) : body };
  }
}

function frameOf(body) {
  return {
    index: Number(body.index),
    utterance: Number(body.utterance_id),
    sample: Number(body.first_audio_sample),
  };
}

const BODIES = {
  started: (body) => ({
    width: body.video_format.width,
    height: body.video_format.height,
    frames: body.video_format.frames_per_second,
    perSeconds: body.video_format.frames_per_second_denominator,
    bufferS: seconds(body.windows.advised_buffer),
  }),
  utterance: (body) => ({
    utterance: Number(body.utterance_id),
    hasEnded: body.phase === "UTTERANCE_PHASE_ENDED",
    index: Number(body.frame_index),
    sample: Number(body.audio_sample),
  }),
};
