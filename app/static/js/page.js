// Choosing, sending and showing without leaving the page. Everything but the cut also works without
// scripts: the server renders the same results, which these scripts only insert photo by photo.

import { addPhotos, clearPhotos, edit, listPhotos, removePhoto } from "./photos.js";
import { makeContent } from "./pixels.js";
import { addFailure, addResult, countResults, showFailures } from "./results.js";
import { ask } from "./send.js";
import { $form, fill, tell } from "./texts.js";

const LANES = 2; // photos sent at the same time
const MOST_FAILURES = 3; // one after the other, before all is stopped
let job = null; // what is being analysed: {abort, left, total, done, failures, started, pause}

async function analyse() {
  job = { abort: new AbortController(), tried: new Set(), done: 0, failures: 0, started: Date.now(), pause: null };
  setBusy(true);
  const results = countResults();
  await Promise.all(Array.from({ length: LANES }, runLane));
  showFailures();
  const { abort, stopped, done, lastCard } = job;
  job = null;
  setBusy(false);
  $("#send").text(stopped || listPhotos().some((photo) => photo.failed) ? fill("again") : $("#send").data("first"));
  if (stopped) $("#status").text(`${stopped} ${fill("stopped")}`);
  else if (abort.signal.aborted) tell("cancelled");
  else showRefused();
  if (done) showResults(results, lastCard);
}

// What is left was refused: the photo comes back with the square.
function showRefused() {
  const refused = listPhotos().filter((photo) => photo.drawable && photo.unjudged);
  tell(refused.length ? "refused" : "");
  if (refused.length) edit(refused[0]);
}

function showResults(before, card) {
  const several = countResults() > 1;
  const target = several && before ? document.getElementById("overview") : document.getElementById("result");
  $(target).trigger("focus");
  (several || !card ? target : card).scrollIntoView();
}

async function runLane() {
  for (let photo = takeNext(); photo; photo = takeNext()) {
    await analyseOne(photo);
    if (!job.abort.signal.aborted) job.done += 1;
    showProgress();
  }
}

function takeNext() {
  if (job.abort.signal.aborted) return null;
  const photo = listPhotos().find((each) => !job.tried.has(each));
  if (photo) job.tried.add(photo);
  return photo;
}

async function analyseOne(photo) {
  const { signal } = job.abort;
  showProgress();
  await photo.ready;
  const content = photo.animated ? null : await makeContent(photo);
  const fault = findFault(photo, content);
  if (fault) {
    fail(photo, fill(fault.short), fault.text);
    if (job.tried.size === 1) job.stopped = fault.text;
    return;
  }
  let answer = await persist(photo, content, signal);
  if (canComeCloser(photo, answer)) {
    photo.square = photo.closer;
    answer = await persist(photo, await makeContent(photo), signal);
  }
  photo.failed = answer.outcome === "failed";
  photo.unjudged = false;
  if (answer.outcome === "cancelled") return;
  if (answer.outcome === "failed") {
    fail(photo, fill("noAnswer"), answer.text);
    job.failures += 1;
    if (answer.lost || job.failures >= MOST_FAILURES || job.tried.size === 1) stop(answer.text);
    return;
  }
  job.failures = 0;
  const $card = addResult(answer.$result, photo);
  job.lastCard = $card[0];
  photo.unjudged = $card.is(".unjudged");
  // A refused photo stays in the list, so that the visitor sees which one it was and can cut it.
  if (answer.outcome === "answered" && !photo.unjudged) removePhoto(photo);
}

// Where the model recognised no lesion, the spot may be too small: once, it is cut more closely.
function canComeCloser(photo, answer) {
  if (answer.outcome !== "answered" || photo.touched || !photo.closer || photo.square === photo.closer) return false;
  return answer.$result.find("#overview tbody tr").data("reasons") === "not_a_lesion";
}

function findFault(photo, content) {
  const { name } = photo.file;
  if (photo.animated) return { short: "animatedShort", text: fill("animated") };
  const most = $form.data("max-bytes");
  if (content.size <= most) return null;
  const values = { name, mb: Math.ceil(content.size / 1e6), most: Math.floor(most / 1e6) };
  return { short: "tooLargeShort", text: fill("tooLarge", values) };
}

function fail(photo, text, reason) {
  photo.failed = true;
  addFailure(photo, text, reason);
}

function stop(text) {
  job.stopped = text;
  job.abort.abort();
}

// Ask until there is an answer: a limit is waited for, by all lanes together.
async function persist(photo, content, signal) {
  for (;;) {
    while (job.pause) await job.pause;
    if (signal.aborted) return { outcome: "cancelled" };
    const answer = await ask(content, photo.file.name, signal, showSending);
    if (answer.outcome !== "limited") return answer;
    job.pause = job.pause || countDown(answer, signal).then(() => { job.pause = null; });
  }
}

async function countDown({ cause, seconds }, signal) {
  tell("waiting", { cause });
  for (let left = seconds; left > 0 && !signal.aborted; left -= 1) {
    $("#doing").text(fill("goesOn", { seconds: left }));
    await new Promise((done) => { setTimeout(done, 1000); });
  }
  tell("");
}

// What is shown meanwhile

function showSending(percent) {
  if (job && listPhotos().length === 1) $("#doing").text(percent < 100 ? fill("sending", { percent }) : "");
}

function showProgress() {
  if (!job || job.pause) return;
  const left = listPhotos().filter((photo) => !job.tried.has(photo)).length + job.tried.size - job.done;
  const total = job.done + left;
  if (total > 1) $("#bar").attr({ value: job.done, max: total });
  else $("#bar").removeAttr("value"); // without a value the bar shows that work is under way
  const texts = total > 1 ? [fill("progress", { i: job.done, n: total })] : [];
  if (job.done > 1 && left) {
    const seconds = ((Date.now() - job.started) / 1000 / job.done) * left;
    texts.push(seconds > 90 ? fill("minutes", { n: Math.round(seconds / 60) }) : fill("seconds", { n: Math.ceil(seconds / 5) * 5 }));
  }
  $("#doing").text(texts.join(" "));
}

function setBusy(busy) {
  $("#progress").prop("hidden", !busy);
  $("#send").prop("disabled", busy);
  $("#cancel").prop("hidden", !busy);
  $("#clear, .remove, .edit").prop("disabled", busy);
  if (busy) $("#cutter").prop("hidden", true);
  $form.attr("aria-busy", String(busy));
  if (busy) { tell("analysing"); showProgress(); }
}

// Wiring

$form.on("submit", (event) => {
  event.preventDefault();
  if (job) return;
  if (listPhotos().length) analyse();
  else tell("none");
});
$("#photos, #camera").on("change", function () {
  addPhotos(this.files);
  this.value = ""; // so that the same photo can be chosen again
});
$("#clear").on("click", clearPhotos);
$("#cancel").on("click", () => { if (job) job.abort.abort(); });
$(".example").on("click", async function (event) {
  event.preventDefault();
  try {
    const response = await fetch(this.href);
    addPhotos([new File([await response.blob()], this.pathname.split("/").pop(), { type: "image/jpeg" })]);
  } catch {
    tell("noExample");
  }
});
$(document)
  .on("paste", ({ originalEvent: event }) => {
    if (event.clipboardData.files.length) addPhotos(event.clipboardData.files);
  })
  // The whole page accepts drops: otherwise the browser would open a photo that misses the field.
  .on("dragover", (event) => { event.preventDefault(); $("#drop").addClass("over"); })
  .on("dragleave drop", () => $("#drop").removeClass("over"))
  .on("drop", (event) => { event.preventDefault(); addPhotos(event.originalEvent.dataTransfer.files); });
