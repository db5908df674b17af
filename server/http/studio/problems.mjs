// What went wrong and what to do about it, in plain words.

import { sentence } from "./findings.mjs";

/** Something to be told: what it is, and the remedy. */
export class Problem extends Error {
  /**
   * @param {string} title what it is
   * @param {string} remedy what to do
   * @param {object} facts the server's own words, as `reason` and `field`
   */
  constructor(title, remedy, facts = {}) {
    super(title);
    this.remedy = remedy;
    this.facts = facts;
  }
}

const TITLES = {
  UNAUTHENTICATED: "This server asks for a key.",
  PERMISSION_DENIED: "This key does not allow that.",
  NO_FREE_STREAM: "The server is busy.",
  ENGINE_UNAVAILABLE: "The server cannot draw just now.",
  SHUTTING_DOWN: "The server is going down.",
  OUT_OF_MEMORY: "The server has not enough memory for this.",
  EXECUTION_TIMEOUT: "The server took too long.",
  EXECUTION_FAILED: "The server failed to draw this.",
  IDLE_CLIENT: "Nobody spoke for a long time.",
  SLOW_READER: "This page could not keep up with the server.",
  MISSING_EXTRA: "This server lacks a part.",
  LIMIT_EXCEEDED: "That is too much.",
  INTERNAL: "Something went wrong on the server.",
};

/** Tells whether a server's problem is the portrait. */
export function isOfPortrait({ field = "" }) {
  return field.startsWith("start.portrait");
}

/** Returns what an error of the server means; `problem` is one of RFC 9457. */
export function serverProblem(problem) {
  const { reason = "", detail = "", request_id: id } = problem;
  const title = isOfPortrait(problem)
    ? "This portrait cannot be used."
    : (TITLES[reason] ?? "That was refused.");
  if (reason === "UNAUTHENTICATED") {
    return new Problem(title, "Ask its operator for one, and enter it here.", problem);
  }
  if (reason === "INTERNAL") return new Problem(title, `Its log has more, by the id ${id}.`, problem);
  return new Problem(title, sentence(detail), problem);
}

/** Returns what it means that a socket closed without a word, by its code. */
export function closedProblem(code) {
  if (code === 1009) {
    return new Problem("That file is too large for the server.", "Choose a smaller one.");
  }
  return new Problem(
    "The server does not answer.",
    "See that it runs, and that this machine reaches it; then try again.",
  );
}

/** Returns why a page that came by plain http from another machine can do nothing. */
export function insecureProblem() {
  return new Problem(
    "Browsers keep sound from pages like this one.",
    "Put https before the server, or open http://127.0.0.1 on its own machine, to which " +
      "ssh -L 9000:127.0.0.1:9000 leads from yours.",
  );
}

/** Returns why there is no microphone. */
export function microphoneProblem(error) {
  switch (error.name) {
    case "NotAllowedError":
      return new Problem(
        "This page may not use the microphone.",
        "Allow it in the browser's settings of this site, beside the address, and try again.",
      );
    case "NotFoundError":
      return new Problem("No microphone was found.", "Connect one, or choose a sound file.");
    case "NotReadableError":
      return new Problem("The microphone is in use.", "Close the program that has it, and try again.");
    default:
      return new Problem(
        "The microphone cannot be used here.",
        "Browsers allow it on https pages and on localhost only. Or choose a sound file.",
      );
  }
}
