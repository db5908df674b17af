// Plays pieces of sound at exact samples, in the audio thread.

import { Segments } from "./segments.mjs";

class Speaker extends AudioWorkletProcessor {
  #segments = new Segments();

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if (data === "clear") this.#segments.clear();
      else this.#segments.push(data);
    };
  }

  process(_inputs, [[output]]) {
    this.#segments.fill(output, currentFrame);
    return true;
  }
}

registerProcessor("speaker", Speaker);
