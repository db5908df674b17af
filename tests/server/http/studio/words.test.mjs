import assert from "node:assert/strict";
import test from "node:test";

import { findingsOf } from "../../../../server/http/studio/findings.mjs";
import { Meter } from "../../../../server/http/studio/meter.mjs";
import {
  closedProblem,
  microphoneProblem,
  serverProblem,
} from "../../../../server/http/studio/problems.mjs";

test("the first frame and the speed are counted from the first sound", () => {
  const meter = new Meter();
  meter.frame(5, 0.04);
  assert.equal(meter.firstFrameS, null);
  meter.begin(10);
  for (let n = 1; n <= 50; n += 1) meter.frame(10.5 + n * 0.01, 0.04);
  assert.ok(Math.abs(meter.firstFrameS - 0.51) < 1e-9);
  assert.ok(Math.abs(meter.realTimeFactor - 2) < 1e-9);
  meter.begin(20);
  assert.equal(meter.realTimeFactor, null);
});

test("an error of the server keeps its remedy", () => {
  const problem = serverProblem({
    reason: "NO_FREE_STREAM",
    detail: "all 4 places are taken; try again in 2 s",
  });
  assert.equal(problem.message, "The server is busy.");
  assert.equal(problem.remedy, "All 4 places are taken; try again in 2 s.");
});

test("a portrait that is refused is called one", () => {
  const problem = serverProblem({
    reason: "INVALID_FIELD",
    field: "start.portrait.image",
    detail: "is no picture",
  });
  assert.equal(problem.message, "This portrait cannot be used.");
});

test("what nobody foresaw is named by its id", () => {
  const problem = serverProblem({ reason: "INTERNAL", detail: "…", request_id: "7f3a" });
  assert.match(problem.remedy, /7f3a/);
});

test("a socket that closes tells what to do", () => {
  assert.match(closedProblem(1009).message, /too large/);
  assert.match(closedProblem(1006).remedy, /runs/);
});

test("each way of having no microphone has its own remedy", () => {
  const names = ["NotAllowedError", "NotFoundError", "NotReadableError", "TypeError"];
  const remedies = names.map((name) => microphoneProblem({ name }).remedy);
  assert.equal(new Set(remedies).size, 4);
  assert.ok(remedies.every((remedy) => remedy.length > 20));
});

test("what a portrait lacks is told before what it has, the gravest first", () => {
  const check = (name, advice = "") => ({ outcome: `CHECK_OUTCOME_${name}`, advice });
  const found = findingsOf([
    check("PASSED"),
    check("WARNING", "open the eyes"),
    check("ERROR", "show one face"),
    check("NOT_CHECKED"),
  ]);
  assert.deepEqual(found, [
    { text: "Show one face.", kind: "bad" },
    { text: "Open the eyes.", kind: "warning" },
    { text: "1 of 4 checks passed.", kind: "" },
  ]);
  assert.deepEqual(findingsOf([check("PASSED")]), [
    { text: "1 of 1 checks passed.", kind: "good" },
  ]);
});
