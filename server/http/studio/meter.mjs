// What is measured of the utterance that is spoken now, in seconds of the page's own clock.

export class Meter {
  /** From the first sound sent to the first frame. */
  firstFrameS = null;
  /** Seconds of frames for each second since the first sound was sent. */
  realTimeFactor = null;
  #began = null;
  #frames = 0;

  /** Something is about to be said. */
  begin(now) {
    this.firstFrameS = null;
    this.realTimeFactor = null;
    this.#began = now;
    this.#frames = 0;
  }

  /** A frame has come, which is shown for `durationS`. */
  frame(now, durationS) {
    if (this.#began === null) return;
    const passed = now - this.#began;
    this.firstFrameS ??= passed;
    this.#frames += 1;
    this.realTimeFactor = (this.#frames * durationS) / passed;
  }
}
