// The page: what is pressed becomes speech, and what happens is said in words and numbers.

import { checkPortrait } from "./findings.mjs";
import { base64, bitmap } from "./picture.mjs";
import { Player } from "./player.mjs";
import { insecureProblem, isOfPortrait, Problem } from "./problems.mjs";
import { chunksOf, Microphone, readSoundFile, spoken } from "./sources.mjs";
import { Talk } from "./talk.mjs";
import { page, showFindings, showNumbers, tell } from "./view.mjs";

const TICK_MS = 200;

const player = new Player(page.face);
let talk = null;
/** What was chosen: its file, and what the server says of it. */
let portrait = null;
let isOpening = false;
/** What is being said: a controller that ends it. */
let speaking = null;
let microphone = null;

// ---- the portrait

async function choosePortrait(file) {
  if (!file || !isSecureContext) return;
  tell(null);
  talk?.close();
  stopSpeaking();
  const chosen = { file, checks: null, warnings: [], isTaken: false };
  portrait = chosen;
  showFindings(chosen);
  page.portraitName.textContent = file.name ?? "The server's portrait";
  const [image, picture] = await Promise.all([base64(file), bitmap(file)]);
  await player.open();
  if (portrait !== chosen) return;
  talk = new Talk(image, player, key, {
    started: () => {
      if (picture) player.show(picture);
      Object.assign(chosen, { warnings: [], isTaken: true });
      told(check(chosen));
    },
    warning: (warning) => {
      chosen.warnings.push(warning);
      showFindings(chosen);
    },
    closed: (problem) => portrait === chosen && closed(problem),
  });
  await open();
}

/** Asks the server what could be better about a portrait. */
async function check(chosen) {
  chosen.checks ??= await checkPortrait(chosen.file, key());
  if (portrait === chosen) showFindings(chosen);
}

/** Opens the stream, and tells what is in the way; returns whether it is open. */
async function open() {
  isOpening = true;
  tick();
  try {
    await talk.open();
    page.access.hidden = true;
    return true;
  } catch (error) {
    // `closed` has told what the server said.
    if (!(error instanceof Problem)) throw error;
    return false;
  } finally {
    isOpening = false;
    tick();
  }
}

function closed(problem) {
  stopSpeaking();
  // The next word opens another stream.
  if (problem.facts.reason === "IDLE_CLIENT") return;
  if (isOfPortrait(problem.facts)) {
    talk = null;
    told(check(portrait));
  }
  tell(problem);
  if (problem.facts.reason === "UNAUTHENTICATED") {
    page.access.hidden = false;
    page.key.focus();
  }
}

function key() {
  return page.key.value.trim();
}

// ---- speech

/** Says what `speech` hands over, in place of what is being said. */
async function speak(speech) {
  tell(null);
  interrupt();
  const controller = new AbortController();
  speaking = controller;
  try {
    await player.wake();
    if (await open()) await speech(controller.signal);
  } catch (error) {
    if (!controller.signal.aborted) tell(asProblem(error));
  } finally {
    if (speaking === controller) speaking = null;
    tick();
  }
}

function interrupt() {
  stopSpeaking();
  talk?.interrupt();
  tick();
}

function stopSpeaking() {
  speaking?.abort();
  speaking = null;
}

async function sayFile(file) {
  const samples = await readSoundFile(file, player.context);
  await speak((signal) => talk.sayAll(chunksOf(samples, player.rate), signal));
}

function sayText(text) {
  return speak((signal) => talk.sayAll(spoken(text, player.rate, key(), signal), signal));
}

/** Listens until `release` is called or the talk is interrupted. */
function listen() {
  if (microphone || page.hold.disabled) return;
  const opened = new Microphone(player.context, (samples) => talk.say(samples));
  const released = new Promise((resolve) => {
    microphone = { release: resolve, isOpen: false };
  });
  const mine = microphone;
  speak(async (signal) => {
    await opened.open();
    mine.isOpen = true;
    tick();
    const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve));
    await Promise.race([released, aborted]);
    await opened.close();
    if (!signal.aborted) talk.pause();
  }).finally(() => {
    if (microphone === mine) microphone = null;
    tick();
  });
}

function release() {
  microphone?.release();
}

function tryAgain() {
  tell(null);
  if (talk) told(open());
}

function asProblem(error) {
  if (error instanceof Problem) return error;
  console.error(error);
  return new Problem("Something went wrong in this page.", "Load it again; its console has more.");
}

// ---- what is said of it

/** Tells what goes wrong in something that nobody waits for. */
function told(doing) {
  return doing.catch((error) => tell(asProblem(error)));
}

function status() {
  if (!talk) return "Choose a portrait to begin.";
  if (isOpening) return "Preparing the portrait …";
  if (microphone?.isOpen) return "Listening …";
  if (microphone) return "Opening the microphone …";
  if (player.timeline?.isStalling) return "Waiting for frames …";
  if (player.timeline?.isHeard(player.heard)) return "Speaking.";
  if (talk.isTalking) return "Waiting for the first frames …";
  return "Ready.";
}

function tick() {
  const text = status();
  if (page.status.textContent !== text) page.status.textContent = text;
  for (const control of document.querySelectorAll("[data-needs-portrait]")) {
    control.disabled = !talk;
  }
  page.interrupt.disabled = !(speaking || talk?.isTalking);
  page.hold.setAttribute("aria-pressed", String(Boolean(microphone)));
  if (talk?.started && player.timeline) showNumbers(talk, player);
}

// ---- what is pressed

page.portrait.addEventListener("change", () => told(choosePortrait(page.portrait.files[0])));
page.stage.addEventListener("dragover", (event) => {
  event.preventDefault();
  page.stage.classList.add("over");
});
page.stage.addEventListener("dragleave", () => page.stage.classList.remove("over"));
page.stage.addEventListener("drop", (event) => {
  event.preventDefault();
  page.stage.classList.remove("over");
  told(choosePortrait(event.dataTransfer.files[0]));
});
page.speech.addEventListener("change", () => {
  const [file] = page.speech.files;
  page.speech.value = "";
  if (file) told(sayFile(file));
});
page.text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) page.words.requestSubmit();
});
page.words.addEventListener("submit", (event) => {
  event.preventDefault();
  if (talk && page.text.value.trim()) told(sayText(page.text.value));
});
page.interrupt.addEventListener("click", interrupt);
page.again.addEventListener("click", tryAgain);
page.access.addEventListener("submit", (event) => {
  event.preventDefault();
  tryAgain();
});

const isHoldKey = ({ key }) => key === " " || key === "Enter";
page.hold.addEventListener("pointerdown", ({ pointerId }) => {
  // What was found of a portrait may move the button from under a hand that holds it still.
  page.hold.setPointerCapture(pointerId);
  listen();
});
for (const event of ["lostpointercapture", "blur"]) {
  page.hold.addEventListener(event, release);
}
page.hold.addEventListener("keydown", (event) => {
  if (!isHoldKey(event)) return;
  event.preventDefault();
  if (!event.repeat) listen();
});
page.hold.addEventListener("keyup", (event) => {
  if (!isHoldKey(event)) return;
  event.preventDefault();
  release();
});
// Programs that press for the reader, as screen readers do, cannot hold: they press twice.
page.hold.addEventListener("click", ({ detail }) => {
  if (detail === 0) microphone ? release() : listen();
});
page.hold.addEventListener("contextmenu", (event) => event.preventDefault());

async function begin() {
  if (!isSecureContext) {
    tell(insecureProblem());
    return;
  }
  const answer = await fetch(new URL("studio/portrait", document.baseURI));
  if (answer.status === 200 && !talk) await choosePortrait(await answer.blob());
}

setInterval(tick, TICK_MS);
tick();
told(begin());

/** For tests and the curious: what was drawn when, and with what. */
globalThis.studio = { player, get talk() { return talk; } };
