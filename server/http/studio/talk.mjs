// A talk with one portrait: what is said goes to the server, what comes back is played.

import { Meter } from "./meter.mjs";
import { Stream } from "./stream.mjs";

/** Speech that is sent before it is played; the rest waits here, so that nothing piles up. */
const AHEAD_S = 20;
const WAITING_MS = 100;

const seconds = () => performance.now() / 1000;

export class Talk {
  meter = new Meter();
  /** What the server says of the stream, once it is open. */
  started = null;
  #player;
  #on;
  #image;
  #key;
  #stream = null;
  #opened = null;
  #isSaying = false;
  /** Utterances of which every frame has come, or that were interrupted. */
  #over = 0;

  /**
   * @param {string} image the portrait's file in base64
   * @param {Player} player plays
   * @param {function} key returns what the server lets this page in by
   * @param {object} on functions: started(), warning(body), closed(problem)
   */
  constructor(image, player, key, on) {
    this.#image = image;
    this.#key = key;
    this.#player = player;
    this.#on = on;
  }

  /** Opens the stream, if none is open; throws the problem if the server refuses it. */
  open() {
    if (!this.#stream || this.#stream.isOver) {
      this.#opened = new Promise((resolve, reject) => {
        const message = (kind, body) => this.#take(kind, body, resolve);
        const closed = (problem) => {
          this.#isSaying = false;
          this.#player.interrupt(Infinity);
          reject(problem);
          this.#on.closed(problem);
        };
        this.#stream = new Stream(this.#image, this.#player.rate, this.#key(), { message, closed });
      });
      // Whoever awaits it hears of it; `closed` tells everybody else.
      this.#opened.catch(() => {});
    }
    return this.#opened;
  }

  /** Says samples, at once. */
  say(samples) {
    if (!this.#isSaying) this.meter.begin(seconds());
    this.#isSaying = true;
    this.#stream.say(samples);
  }

  /** Says pieces of samples, no further ahead of what is played than needed, and ends there. */
  async sayAll(pieces, signal) {
    for await (const piece of pieces) {
      while (this.#backlog > AHEAD_S * this.#player.rate && !signal.aborted) {
        await new Promise((resolve) => setTimeout(resolve, WAITING_MS));
      }
      if (signal.aborted || this.#stream.isOver) return;
      this.say(piece);
    }
    this.pause();
  }

  /** What was said is complete. */
  pause() {
    this.#isSaying = false;
    this.#stream.pause();
  }

  /** Stops what is being said, here and on the server. */
  interrupt() {
    if (!this.isTalking) return;
    this.#isSaying = false;
    this.#stream.interrupt();
    this.#over = this.#stream.utterance;
    this.#player.interrupt(this.#over);
  }

  /** Ends the talk. */
  close() {
    this.#stream?.close();
    this.#player.interrupt(Infinity);
  }

  /** Whether something is said, drawn or played. */
  get isTalking() {
    if (!this.#stream || this.#stream.isOver) return false;
    const isDrawn = this.#over < this.#stream.utterance;
    return this.#isSaying || isDrawn || this.#player.timeline?.isBusy(this.#player.now);
  }

  get #backlog() {
    return this.#stream.sound.waiting + this.#player.timeline.ahead(this.#player.now);
  }

  #take(kind, body, opened) {
    const { timeline } = this.#player;
    switch (kind) {
      case "started":
        this.started = body;
        this.#over = 0;
        this.#player.begin(body, this.#stream.sound);
        this.#on.started();
        opened();
        break;
      case "warning":
        this.#on.warning(body);
        break;
      case "utterance":
        if (!body.hasEnded) timeline.began(body.utterance, body.index, body.sample);
        else {
          timeline.ended(body.utterance);
          this.#over = Math.max(this.#over, body.utterance + 1);
        }
        break;
      case "frame":
        this.meter.frame(seconds(), this.started.perSeconds / this.started.frames);
        this.#player.add(body);
        break;
      default: // `interrupted`: what it answers has been done.
    }
  }
}
