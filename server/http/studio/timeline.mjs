// When what is played: the sound is the clock, counted in samples of the audio device.
//
// A frame and the speech that it shows are one piece. Pieces are put one behind the other on the
// device's clock; where the next one is late, sound and face wait together, so that they cannot part.
// A beginning, and what goes on after such a stall, waits for the buffer that the server advises.

/** Between a decision to play and the first sample: what the audio thread takes to hear of it. */
const LEAD_S = 0.03;

/** Puts pieces on the clock, and knows which one is heard. Times are samples of the device. */
export class Timeline {
  /** Times that playback stood still inside an utterance. */
  underruns = 0;
  /** Samples for which it did. */
  stalled = 0;
  #waiting = [];
  #placed = [];
  #end = 0;
  #last = null;
  #utterances = new Map();
  #isStalling = false;
  #oldest = 0;
  #lead;
  #rate;
  #started;

  /**
   * @param {number} rate samples a second, of the stream and of the device
   * @param {object} started of the stream: `frames` come in `perSeconds`, and `bufferS` is advised
   */
  constructor(rate, started) {
    this.#lead = Math.round(LEAD_S * rate);
    this.#rate = rate;
    this.#started = started;
    this.buffer = Math.round(started.bufferS * rate);
  }

  /** An utterance begins with a frame and at a sample of the stream. */
  began(utterance, index, sample) {
    this.#utterances.set(utterance, { index, sample, hasEnded: false });
  }

  /** All frames of an utterance have come. */
  ended(utterance) {
    const known = this.#utterances.get(utterance);
    if (known) known.hasEnded = true;
  }

  /** A frame has come: {index, utterance, sample, picture}. */
  add(frame, now) {
    const begun = this.#utterances.get(frame.utterance);
    if (!begun || frame.utterance < this.#oldest) return;
    const { frames, perSeconds } = this.#started;
    const number = frame.index - begun.index;
    // Whole numbers, so that nothing adds up: where the next frame begins.
    const after = Math.floor(((number + 1) * this.#rate * perSeconds) / frames);
    const samples = begun.sample + after - frame.sample;
    this.#waiting.push({ ...frame, samples, came: now, at: null });
  }

  /** Returns the pieces that are placed now, in order, each with the sample `at` which it plays. */
  place(now) {
    this.#noticeStall(now);
    const placed = [];
    while (this.#waiting.length) {
      const piece = this.#waiting[0];
      if (!this.#goesOn(piece, now)) {
        if (!this.#isReady(piece, now)) break;
        const at = Math.max(this.#end, now + this.#lead);
        if (this.#isStalling) this.stalled += at - this.#end;
        this.#isStalling = false;
        this.#end = at;
      }
      piece.at = this.#end;
      this.#end += piece.samples;
      this.#last = piece;
      this.#placed.push(piece);
      placed.push(this.#waiting.shift());
    }
    return placed;
  }

  /** Returns the piece that is heard, or was last, or null; those before it are dropped. */
  at(heard) {
    while (this.#placed.length > 1 && this.#placed[1].at <= heard) this.#placed.shift();
    const [first] = this.#placed;
    return first && first.at <= heard ? first : null;
  }

  /** Whether something is heard. */
  isHeard(heard) {
    const piece = this.at(heard);
    return piece !== null && heard < piece.at + piece.samples;
  }

  /** Returns the pieces that are heard until some samples from now. */
  upTo(heard) {
    return this.#placed.filter((piece) => piece.at < heard);
  }

  /** Drops everything; frames of utterances before this one are not taken any more. */
  interrupt(now, utterance) {
    this.#oldest = utterance;
    this.#waiting = [];
    this.#placed = [];
    this.#end = Math.min(this.#end, now);
    this.#last = null;
    this.#isStalling = false;
    for (const known of this.#utterances.keys()) {
      if (known < utterance) this.#utterances.delete(known);
    }
  }

  /** Samples that are there to be played. */
  ahead(now) {
    const waiting = this.#waiting.reduce((sum, piece) => sum + piece.samples, 0);
    return Math.max(0, this.#end - now) + waiting;
  }

  /** Whether something is played, or waits for its buffer. */
  isBusy(now) {
    return this.#waiting.length > 0 || this.#end > now || this.#isStalling;
  }

  /** Whether playback stands still since a frame is late. */
  get isStalling() {
    return this.#isStalling;
  }

  #goesOn(piece, now) {
    return this.#last?.utterance === piece.utterance && this.#end > now;
  }

  #isReady(piece, now) {
    const here = this.#waiting.filter((other) => other.utterance === piece.utterance);
    const samples = here.reduce((sum, other) => sum + other.samples, 0);
    return (
      samples >= this.buffer ||
      now - piece.came >= this.buffer ||
      this.#utterances.get(piece.utterance).hasEnded
    );
  }

  #noticeStall(now) {
    const last = this.#last;
    if (!last || this.#isStalling || this.#end > now) return;
    if (this.#utterances.get(last.utterance).hasEnded && !this.#hasMore(last)) return;
    this.#isStalling = true;
    this.underruns += 1;
  }

  #hasMore(last) {
    return this.#waiting.some((piece) => piece.utterance === last.utterance);
  }
}
