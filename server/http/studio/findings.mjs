// What the server finds of a portrait, in words.

import { headersWith } from "./wire.mjs";

const PASSED = "CHECK_OUTCOME_PASSED";
const KINDS = { CHECK_OUTCOME_ERROR: "bad", CHECK_OUTCOME_WARNING: "warning" };

/** Returns the server's checks of a portrait, or null where it does not check it for this page. */
export async function checkPortrait(file, key) {
  const body = new FormData();
  body.append("portrait", file, "portrait");
  const url = new URL("v1/portraits/check", document.baseURI);
  const headers = headersWith(key);
  const answer = await fetch(url, { method: "POST", headers, body }).catch(() => null);
  return answer?.ok ? (await answer.json()).checks : null;
}

/** Returns what to tell of checks: {text, kind}, the gravest first. */
export function findingsOf(checks) {
  const found = Object.entries(KINDS).flatMap(([outcome, kind]) =>
    checks
      .filter((check) => check.outcome === outcome)
      .map(({ advice }) => ({ text: sentence(advice), kind })),
  );
  const passed = checks.filter(({ outcome }) => outcome === PASSED).length;
  const text = `${passed} of ${checks.length} checks passed.`;
  return [...found, { text, kind: found.length ? "" : "good" }];
}

/** Returns a text as a sentence. */
export function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
