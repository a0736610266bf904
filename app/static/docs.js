// Sends photos from the API's description, and shows what a program would get. Without this script
// the browser sends the form, and shows the page with the results.

const SECONDS = 30; // the server answers within 20
const LONGEST = 80; // characters of a text; a heat map has thousands
const NO_KEY = /[^ -~\xa0-\xff]/u; // no header can hold it
const HEADERS = ["Content-Type", "X-Request-ID", "Retry-After"];
const form = document.getElementById("try");
const shown = document.getElementById("tried");
const texts = JSON.parse(form.dataset.texts);

function show(...parts) {
  shown.replaceChildren(...parts.map(([kind, text]) => {
    const element = document.createElement(kind);
    element.textContent = text;
    if (kind === "pre") element.tabIndex = 0; // long lines scroll
    return element;
  }));
}

function format(text) {
  const shorten = (_, value) =>
    typeof value === "string" && value.length > LONGEST ? `${value.slice(0, LONGEST)}… ${texts.shortened.replace("{n}", value.length)}` : value;
  try {
    return JSON.stringify(JSON.parse(text), shorten, 2);
  } catch {
    return text; // of something between here and the server
  }
}

async function send(event) {
  event.preventDefault();
  const key = document.getElementById("try-key").value.trim();
  const [wrong] = key.match(NO_KEY) || [];
  if (wrong) {
    show(["p", texts.wrongKey.replace("{character}", wrong)]);
    return;
  }
  const button = form.querySelector("button");
  button.disabled = true;
  show(["p", texts.sending]);
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      body: new FormData(form),
      headers: { Accept: "application/json", ...(key && { Authorization: `Bearer ${key}` }) },
      signal: AbortSignal.timeout(1000 * SECONDS),
    });
    const text = await answer.text();
    const headers = HEADERS.filter((name) => answer.headers.has(name)).map((name) => `${name}: ${answer.headers.get(name)}`);
    show(["p", `${texts.status} ${answer.status}`], ["pre", headers.join("\n")], ["pre", format(text)]);
  } catch (error) {
    show(["p", error.name === "TimeoutError" ? texts.late.replace("{seconds}", SECONDS) : texts.noAnswer]);
  }
  button.disabled = false;
}

form.addEventListener("submit", send);
