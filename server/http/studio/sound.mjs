// The sound that was sent, by its position in the stream, until it is played.

export class Sound {
  #chunks = [];
  #ends = [];
  #end = 0;

  /** Samples that were sent so far. */
  get end() {
    return this.#end;
  }

  /** Samples that are still here. */
  get waiting() {
    return this.#chunks.length ? this.#end - this.#chunks[0].start : 0;
  }

  /** Adds samples. */
  push(samples) {
    this.#chunks.push({ start: this.#end, samples });
    this.#end += samples.length;
  }

  /** An utterance ends here: what is read of it is not read past this. */
  mark() {
    this.#ends.push(this.#end);
  }

  /** Returns the samples from a position on; silence after its utterance. */
  read(start, count) {
    const found = new Float32Array(count);
    const stop = this.#ends.find((end) => end > start) ?? this.#end;
    for (const chunk of this.#chunks) {
      const from = Math.max(start, chunk.start);
      const to = Math.min(start + count, stop, chunk.start + chunk.samples.length);
      if (from < to) {
        found.set(chunk.samples.subarray(from - chunk.start, to - chunk.start), from - start);
      }
    }
    return found;
  }

  /** Drops what lies before a position. */
  forget(position) {
    const isOver = ({ start, samples }) => start + samples.length <= position;
    while (this.#chunks.length && isOver(this.#chunks[0])) this.#chunks.shift();
    while (this.#ends.length && this.#ends[0] <= position) this.#ends.shift();
  }
}
