// What the audio thread has to play: pieces of sound, each with the sample at which it begins.

export class Segments {
  #waiting = [];

  /** Adds a piece {at, samples}; pieces come in order. */
  push(segment) {
    this.#waiting.push(segment);
  }

  /** Drops all. */
  clear() {
    this.#waiting = [];
  }

  /** Writes what is heard from a sample on; silence where nothing is. What comes late is cut. */
  fill(output, now) {
    output.fill(0);
    const end = now + output.length;
    while (this.#waiting.length && this.#waiting[0].at < end) {
      const { at, samples } = this.#waiting[0];
      const from = Math.max(at, now);
      const to = Math.min(at + samples.length, end);
      if (from < to) output.set(samples.subarray(from - at, to - at), from - now);
      if (at + samples.length > end) return;
      this.#waiting.shift();
    }
  }
}
