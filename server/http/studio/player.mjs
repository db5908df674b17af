// Plays sound and draws faces by the clock of the audio device.

import { Timeline } from "./timeline.mjs";

const PLACING_MS = 40;
const DECODED_AHEAD_S = 0.5;
const LOGGED = 10_000;
/** What every server takes; devices of higher rates are slowed down to it. */
const MAX_RATE = 48_000;

export class Player {
  /**
   * What was drawn and when, the latest at the end: the frame's `index`, the `sample` of the stream
   * at which it begins, and the sample of the device that was `heard` as it was drawn.
   */
  log = [];
  timeline = null;
  #canvas;
  #context;
  #speaker;
  #sound;
  #drawn = null;

  /** @param {HTMLCanvasElement} canvas where faces are drawn */
  constructor(canvas) {
    this.#canvas = canvas;
  }

  /** Makes ready to play; samples a second are then `rate`. */
  async open() {
    if (this.#context) return;
    let context = new AudioContext();
    if (context.sampleRate > MAX_RATE) {
      await context.close();
      context = new AudioContext({ sampleRate: MAX_RATE });
    }
    this.#context = context;
    await context.audioWorklet.addModule(new URL("speaker-worklet.mjs", import.meta.url));
    this.#speaker = new AudioWorkletNode(context, "speaker", { numberOfInputs: 0 });
    this.#speaker.connect(context.destination);
    setInterval(() => this.#place(), PLACING_MS);
    const draw = () => {
      this.#draw();
      requestAnimationFrame(draw);
    };
    draw();
  }

  /** The audio device's context, for whoever listens or decodes. */
  get context() {
    return this.#context;
  }

  /** What is heard, for whoever records it. */
  get output() {
    return this.#speaker;
  }

  /** Samples a second. */
  get rate() {
    return this.#context.sampleRate;
  }

  /** The sample that the audio thread is at. */
  get now() {
    return Math.round(this.#context.currentTime * this.rate);
  }

  /** The sample that comes out of the loudspeaker. */
  get heard() {
    const { outputLatency, baseLatency } = this.#context;
    return this.now - Math.round((outputLatency || baseLatency || 0) * this.rate);
  }

  /** Browsers play nothing before a reader has pressed something. */
  wake() {
    return this.#context.resume();
  }

  /**
   * Begins to play a stream.
   * @param {object} started what the server says of it
   * @param {Sound} sound what is said
   */
  begin(started, sound) {
    this.silence();
    this.#sound = sound;
    this.#canvas.width = started.width;
    this.#canvas.height = started.height;
    this.timeline = new Timeline(this.rate, started);
  }

  /** Takes a frame. */
  add(frame) {
    this.timeline.add(frame, this.now);
    this.#place();
  }

  /** Draws a picture until a frame is drawn. */
  show(picture) {
    const { width, height } = this.#canvas;
    const scale = Math.max(width / picture.width, height / picture.height);
    const [w, h] = [picture.width * scale, picture.height * scale];
    this.#canvas.getContext("2d").drawImage(picture, (width - w) / 2, (height - h) / 2, w, h);
    this.#drawn = null;
  }

  /** Drops everything at once; frames of utterances before this one are not taken any more. */
  interrupt(utterance) {
    this.timeline?.interrupt(this.now, utterance);
    this.silence();
  }

  /** Stops the sound. */
  silence() {
    this.#speaker?.port.postMessage("clear");
  }

  #place() {
    if (!this.timeline) return;
    for (const piece of this.timeline.place(this.now)) {
      const samples = this.#sound.read(piece.sample, piece.samples);
      this.#sound.forget(piece.sample + piece.samples);
      this.#speaker.port.postMessage({ at: piece.at, samples }, [samples.buffer]);
    }
  }

  #draw() {
    if (!this.timeline) return;
    const { heard } = this;
    for (const piece of this.timeline.upTo(heard + DECODED_AHEAD_S * this.rate)) decode(piece);
    const piece = this.timeline.at(heard);
    if (!piece?.bitmap || piece === this.#drawn) return;
    this.#canvas.getContext("2d").drawImage(piece.bitmap, 0, 0);
    this.#drawn = piece;
    this.log.push({ index: piece.index, sample: piece.sample, heard });
    if (this.log.length > LOGGED) this.log.shift();
  }
}

function decode(piece) {
  piece.decoding ??= createImageBitmap(new Blob([piece.picture])).then((bitmap) => {
    piece.bitmap = bitmap;
    piece.picture = null;
  });
}
