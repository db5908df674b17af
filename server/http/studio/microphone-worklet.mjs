// Hands over what the microphone hears, mono, some milliseconds at a time, and null at the end.

const CHUNK = 1024;

class Microphone extends AudioWorkletProcessor {
  #chunk = new Float32Array(CHUNK);
  #filled = 0;
  #isOver = false;

  constructor() {
    super();
    this.port.onmessage = () => {
      this.#isOver = true;
      this.#pass();
      this.port.postMessage(null);
    };
  }

  process([channels]) {
    if (this.#isOver) return false;
    const length = channels[0]?.length ?? 0;
    for (let n = 0; n < length; n += 1) {
      const sum = channels.reduce((total, channel) => total + channel[n], 0);
      this.#chunk[this.#filled] = sum / channels.length;
      this.#filled += 1;
      if (this.#filled === CHUNK) this.#pass();
    }
    return true;
  }

  #pass() {
    this.port.postMessage(this.#chunk.slice(0, this.#filled));
    this.#filled = 0;
  }
}

registerProcessor("microphone", Microphone);
