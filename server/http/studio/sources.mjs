// Where speech comes from, as pieces of mono samples at the player's rate.

import { closedProblem, microphoneProblem, Problem, serverProblem } from "./problems.mjs";
import { headersWith, PcmReader } from "./wire.mjs";

const CHUNK_S = 0.1;

/** Returns the samples of a sound file, which the browser decodes. */
export async function readSoundFile(file, context) {
  let sound;
  try {
    sound = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Problem(
      `${file.name} cannot be read as sound.`,
      "Choose a WAV, MP3, Ogg, FLAC or M4A file.",
    );
  }
  const samples = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; channel += 1) {
    sound.getChannelData(channel).forEach((sample, n) => {
      samples[n] += sample / sound.numberOfChannels;
    });
  }
  return samples;
}

/** Yields a text as the server speaks it. */
export async function* spoken(text, rate, key, signal) {
  const answer = await fetch(new URL("v1/speech", document.baseURI), {
    method: "POST",
    headers: { "content-type": "application/json", ...headersWith(key) },
    body: JSON.stringify({ text, sample_rate_hz: rate }),
    signal,
  }).catch(() => {
    throw closedProblem();
  });
  if (!answer.ok) throw serverProblem(await answer.json());
  const pcm = new PcmReader();
  const body = answer.body.getReader();
  for (;;) {
    const { done, value } = await body.read();
    if (done) return;
    yield pcm.read(value);
  }
}

/** Yields samples in pieces. */
export function* chunksOf(samples, rate) {
  const size = Math.round(CHUNK_S * rate);
  for (let at = 0; at < samples.length; at += size) yield samples.subarray(at, at + size);
}

/** The microphone: open while somebody speaks. */
export class Microphone {
  #context;
  #take;
  #media;
  #node;

  /**
   * @param {AudioContext} context gives the rate
   * @param {function} take is handed samples
   */
  constructor(context, take) {
    this.#context = context;
    this.#take = take;
  }

  /** Begins to listen. */
  async open() {
    try {
      this.#media = await navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      });
    } catch (error) {
      throw microphoneProblem(error);
    }
    await this.#context.audioWorklet.addModule(new URL("microphone-worklet.mjs", import.meta.url));
    this.#node = new AudioWorkletNode(this.#context, "microphone", { numberOfOutputs: 0 });
    this.#node.port.onmessage = ({ data }) => this.#take(data);
    this.#context.createMediaStreamSource(this.#media).connect(this.#node);
  }

  /** Ends; what was heard until now has been handed over then. */
  async close() {
    const { port } = this.#node;
    await new Promise((resolve) => {
      port.onmessage = ({ data }) => (data ? this.#take(data) : resolve());
      port.postMessage("end");
    });
    for (const track of this.#media.getTracks()) track.stop();
  }
}
