// One stream of the server: a portrait that listens to what is said and answers with frames.

import { closedProblem, serverProblem } from "./problems.mjs";
import { Sound } from "./sound.mjs";
import { protocolsWith, Reader, startMessage, toPcm } from "./wire.mjs";

export class Stream {
  /** What was said, to be played. */
  sound = new Sound();
  /** Of the next thing that is said, if nothing is being said. */
  utterance = 0;
  #socket;
  #isSaying = false;
  #isOver = false;
  #on;

  /**
   * @param {string} image the portrait's file in base64
   * @param {number} rate samples a second of what will be said
   * @param {string} key what the server lets this page in by; empty where it asks for none
   * @param {object} on functions: message(kind, body), and closed(problem) once, at the end
   */
  constructor(image, rate, key, on) {
    this.#on = on;
    const reader = new Reader();
    const url = new URL("v1/stream", document.baseURI.replace(/^http/, "ws"));
    this.#socket = new WebSocket(url, protocolsWith(key));
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => this.#send(startMessage(image, rate));
    this.#socket.onmessage = ({ data }) => {
      const message = reader.read(data);
      if (message?.kind === "error") this.#end(serverProblem(message.body));
      else if (message && !this.#isOver) on.message(message.kind, message.body);
    };
    this.#socket.onclose = ({ code }) => this.#end(closedProblem(code));
  }

  /** Whether nothing can be said any more. */
  get isOver() {
    return this.#isOver;
  }

  /** Sends samples; they begin an utterance where none goes on. */
  say(samples) {
    if (this.#isOver || !samples.length) return;
    this.#isSaying = true;
    this.sound.push(samples);
    this.#socket.send(toPcm(samples));
  }

  /** Ends the utterance. */
  pause() {
    if (!this.#isSaying) return;
    this.#next();
    this.#send({ end_of_utterance: {} });
  }

  /** Drops what was said and is not drawn yet. */
  interrupt() {
    if (this.#isSaying) this.#next();
    this.sound.forget(this.sound.end);
    this.#send({ interrupt: {} });
  }

  /** Ends the stream; nothing is told of it. */
  close() {
    this.#isOver = true;
    this.#socket.close();
  }

  #next() {
    this.#isSaying = false;
    this.sound.mark();
    this.utterance += 1;
  }

  #send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #end(problem) {
    if (this.#isOver) return;
    this.close();
    this.#on.closed(problem);
  }
}
