// What the page shows: problems, what was found of a portrait, and numbers.

import { findingsOf, sentence } from "./findings.mjs";

/** The page's elements, by their ids. */
export const page = Object.fromEntries(
  [...document.querySelectorAll("[id]")].map((element) => [element.id, element]),
);

/** Shows a problem and its remedy; null hides it. */
export function tell(problem) {
  page.problem.hidden = !problem;
  page.problemTitle.textContent = problem?.message ?? "";
  page.problemRemedy.textContent = problem?.remedy ?? "";
}

/** Shows what the checks say, and what the stream says that they do not. */
export function showFindings({ checks, warnings, isTaken }) {
  const codes = new Set(checks?.map(({ code }) => code));
  const found = warnings
    .filter(({ reason }) => !codes.has(reason))
    .map(({ message }) => ({ text: sentence(message), kind: "warning" }));
  if (checks) found.push(...findingsOf(checks));
  else if (isTaken) found.push({ text: "The server takes this portrait.", kind: "good" });
  page.findings.replaceChildren(
    ...found.map(({ text, kind }) => {
      const item = document.createElement("li");
      item.textContent = text;
      item.className = kind;
      return item;
    }),
  );
}

/** Shows how it goes. */
export function showNumbers({ meter, started }, { timeline, rate, now }) {
  const write = (element, value, text) => {
    element.textContent = value === null ? "–" : text(value);
  };
  write(page.firstFrame, meter.firstFrameS, (s) => `${Math.round(1000 * s)} ms`);
  write(page.realTime, meter.realTimeFactor, (factor) => `${factor.toFixed(2)} ×`);
  page.buffer.textContent = `${(timeline.ahead(now) / rate).toFixed(2)} s`;
  page.advised.textContent = `${started.bufferS.toFixed(2)} s`;
  page.stalls.textContent = `${timeline.underruns}, ${(timeline.stalled / rate).toFixed(2)} s`;
}
