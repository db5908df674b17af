// At 1000 samples a second and 25 frames, a frame has 40 samples; the buffer has 200, the lead 30.
import assert from "node:assert/strict";
import test from "node:test";

import { Timeline } from "../../../../server/http/studio/timeline.mjs";

const BUFFER = 200;
const LEAD = 30;

function frame(index, utterance = 0, begun = { index: 0, sample: 0 }) {
  return { index, utterance, sample: begun.sample + 40 * (index - begun.index), picture: index };
}

function timeline() {
  const made = new Timeline(1000, { frames: 25, perSeconds: 1, bufferS: 0.2 });
  made.began(0, 0, 0);
  return made;
}

function add(line, from, to, now, utterance = 0, begun = undefined) {
  for (let index = from; index < to; index += 1) line.add(frame(index, utterance, begun), now);
}

test("a beginning waits for the buffer, counted from its first frame", () => {
  const line = timeline();
  add(line, 0, 3, 1000);
  assert.deepEqual(line.place(1000 + BUFFER - 1), []);
  const placed = line.place(1000 + BUFFER);
  assert.deepEqual(placed.map(({ at }) => at), [1230, 1270, 1310]);
  assert.deepEqual(placed.map(({ sample }) => sample), [0, 40, 80]);
});

test("it does not wait where as much is there, or all of it", () => {
  const full = timeline();
  add(full, 0, 5, 0);
  assert.equal(full.place(0)[0].at, LEAD);
  const short = timeline();
  add(short, 0, 2, 0);
  assert.deepEqual(short.place(0), []);
  short.ended(0);
  assert.equal(short.place(0)[0].at, LEAD);
});

test("frames that come in time follow without a gap", () => {
  const line = timeline();
  add(line, 0, 5, 0);
  line.place(0);
  add(line, 5, 7, LEAD + 199);
  assert.deepEqual(line.place(LEAD + 199).map(({ at }) => at), [LEAD + 200, LEAD + 240]);
  assert.equal(line.underruns, 0);
});

test("sound and face wait together for a frame that is late, and that is counted", () => {
  const line = timeline();
  add(line, 0, 5, 0);
  line.place(0);
  line.place(500);
  assert.equal(line.underruns, 1);
  assert.equal(line.isStalling, true);
  add(line, 5, 6, 600);
  assert.deepEqual(line.place(700), []);
  const [piece] = line.place(800);
  assert.deepEqual([piece.sample, piece.at], [200, 800 + LEAD]);
  assert.equal(line.stalled, 800 + LEAD - (LEAD + 200));
  assert.equal(line.isStalling, false);
  assert.equal(line.underruns, 1);
});

test("the silence after an utterance is no stall", () => {
  const line = timeline();
  add(line, 0, 5, 0);
  line.ended(0);
  line.place(0);
  line.place(5000);
  assert.deepEqual([line.underruns, line.isStalling, line.isBusy(5000)], [0, false, false]);
  line.began(1, 5, 200);
  add(line, 5, 10, 6000, 1, { index: 5, sample: 200 });
  assert.equal(line.place(6000)[0].at, 6000 + LEAD);
  assert.deepEqual([line.underruns, line.stalled], [0, 0]);
});

test("an utterance that comes early follows the one before", () => {
  const line = timeline();
  add(line, 0, 5, 0);
  line.ended(0);
  line.place(0);
  line.began(1, 5, 190);
  add(line, 5, 10, 100, 1, { index: 5, sample: 190 });
  const [piece] = line.place(100);
  assert.deepEqual([piece.at, piece.sample], [LEAD + 200, 190]);
});

test("the piece that is heard is the one whose sound is", () => {
  const line = timeline();
  add(line, 0, 5, 0);
  line.place(0);
  assert.equal(line.at(LEAD - 1), null);
  assert.equal(line.at(LEAD).index, 0);
  assert.equal(line.at(LEAD + 39).index, 0);
  assert.equal(line.at(LEAD + 40).index, 1);
  assert.equal(line.at(LEAD + 199).index, 4);
  assert.equal(line.isHeard(LEAD + 199), true);
});

test("the last piece stays, so that it is drawn however busy the page is", () => {
  const line = timeline();
  add(line, 0, 5, 0);
  line.place(0);
  assert.equal(line.at(5000).index, 4);
  assert.equal(line.isHeard(5000), false);
});

test("pieces that are heard soon are told, to be decoded", () => {
  const line = timeline();
  add(line, 0, 5, 0);
  line.place(0);
  assert.deepEqual(line.upTo(LEAD + 41).map(({ index }) => index), [0, 1]);
});

test("nothing of what was interrupted is played, and what is said next is", () => {
  const line = timeline();
  add(line, 0, 5, 0);
  line.place(0);
  line.interrupt(100, 1);
  assert.equal(line.at(110), null);
  assert.equal(line.isBusy(110), false);
  add(line, 5, 9, 110);
  line.ended(0);
  assert.deepEqual(line.place(500), []);
  line.began(1, 9, 777);
  add(line, 9, 14, 600, 1, { index: 9, sample: 777 });
  const [piece] = line.place(600);
  assert.deepEqual([piece.sample, piece.at], [777, 600 + LEAD]);
  assert.equal(line.underruns, 0);
});

test("what is there to be played is counted, waiting or placed", () => {
  const line = timeline();
  add(line, 0, 2, 0);
  assert.equal(line.ahead(0), 80);
  add(line, 2, 5, 0);
  line.place(0);
  assert.equal(line.ahead(100), LEAD + 200 - 100);
  assert.equal(line.ahead(1000), 0);
});

test("at 29.97 frames a second no sample is lost or played twice", () => {
  const rate = 48000;
  const line = new Timeline(rate, { frames: 30000, perSeconds: 1001, bufferS: 0 });
  line.began(0, 0, 0);
  const first = (n) => Math.floor((n * rate * 1001) / 30000);
  for (let index = 0; index < 3000; index += 1) {
    line.add({ index, utterance: 0, sample: first(index) }, 0);
  }
  const placed = line.place(0);
  placed.slice(1).forEach((piece, n) => {
    assert.equal(piece.at - placed[n].at, piece.sample - placed[n].sample);
  });
});
