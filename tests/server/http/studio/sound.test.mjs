import assert from "node:assert/strict";
import test from "node:test";

import { Segments } from "../../../../server/http/studio/segments.mjs";
import { Sound } from "../../../../server/http/studio/sound.mjs";

const ramp = (start, count) => Float32Array.from({ length: count }, (_, n) => start + n);

test("what was sent in any pieces is read in any others", () => {
  const sound = new Sound();
  for (const [at, count] of [[0, 3], [3, 1], [4, 10]]) sound.push(ramp(at, count));
  assert.equal(sound.end, 14);
  assert.deepEqual(sound.read(2, 7), ramp(2, 7));
});

test("after an utterance there is silence, whatever was said next", () => {
  const sound = new Sound();
  sound.push(ramp(1, 4));
  sound.mark();
  sound.push(ramp(5, 4));
  assert.deepEqual([...sound.read(2, 4)], [3, 4, 0, 0]);
  assert.deepEqual([...sound.read(4, 4)], [5, 6, 7, 8]);
  assert.deepEqual([...sound.read(7, 3)], [8, 0, 0]);
});

test("what was played is dropped, and positions stay", () => {
  const sound = new Sound();
  sound.push(ramp(0, 4));
  sound.push(ramp(4, 4));
  assert.equal(sound.waiting, 8);
  sound.forget(5);
  assert.equal(sound.waiting, 4);
  assert.deepEqual([...sound.read(4, 2)], [4, 5]);
  sound.forget(8);
  assert.equal(sound.waiting, 0);
  assert.equal(sound.end, 8);
});

function played(segments, blocks) {
  const found = [];
  for (const length of blocks) {
    const block = new Float32Array(length);
    segments.fill(block, found.length);
    found.push(...block);
  }
  return found;
}

test("pieces are heard at their sample, in blocks of any length", () => {
  const pieces = () => {
    const segments = new Segments();
    segments.push({ at: 2, samples: ramp(1, 3) });
    segments.push({ at: 5, samples: ramp(4, 2) });
    segments.push({ at: 9, samples: ramp(9, 2) });
    return segments;
  };
  const whole = [0, 0, 1, 2, 3, 4, 5, 0, 0, 9, 10, 0];
  assert.deepEqual(played(pieces(), [12]), whole);
  assert.deepEqual(played(pieces(), [1, 3, 1, 4, 3]), whole);
});

test("what comes late is cut, so that the rest is in time", () => {
  const segments = new Segments();
  played(segments, [4]);
  segments.push({ at: 2, samples: ramp(1, 5) });
  const block = new Float32Array(4);
  segments.fill(block, 4);
  assert.deepEqual([...block], [3, 4, 5, 0]);
});

test("nothing is heard of what was dropped", () => {
  const segments = new Segments();
  segments.push({ at: 0, samples: ramp(1, 8) });
  played(segments, [4]);
  segments.clear();
  assert.deepEqual(played(segments, [4]), [0, 0, 0, 0]);
});
