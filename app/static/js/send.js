// One photo to the server and its answer back, whatever happens on the way.

import { $form, fill } from "./texts.js";

const SILENCE = 30; // seconds without progress before it is given up
const BUSY = [429, 503];

// Ask once. Returns {outcome, …}: "answered" and "refused" with the $result of the server's page,
// "limited" with cause and seconds, "failed" with a text, "cancelled".
export async function ask(content, name, signal, onProgress) {
  const { xhr, late } = await post(content, name, signal, onProgress);
  if (signal.aborted) return { outcome: "cancelled" };
  if (late) return { outcome: "failed", lost: true, text: fill("late", { seconds: SILENCE }) };
  if (!xhr.status) return { outcome: "failed", lost: true, text: fill("lost") };
  const page = new DOMParser().parseFromString(xhr.responseText || "", "text/html");
  const $result = $(document.importNode(page.getElementById("result") || document.createElement("p"), true));
  const $problem = $result.children(".problem");
  const seconds = Number(xhr.getResponseHeader("Retry-After"));
  if (BUSY.includes(xhr.status) && seconds) {
    const cause = $problem.find("h2").text();
    return { outcome: "limited", seconds, cause: cause ? `${cause}.` : fill("wait", { status: xhr.status }) };
  }
  if (xhr.status < 400 && $result.children(".answer").length) return { outcome: "answered", $result };
  if (xhr.status >= 400 && xhr.status < 500 && $problem.length) return { outcome: "refused", $result };
  const text = $problem.find("p").first().text();
  return { outcome: "failed", text: text || fill(xhr.status < 400 ? "broken" : "gateway", { status: xhr.status }) };
}

function post(content, name, signal, onProgress) {
  const form = new FormData();
  form.append($("#photos").attr("name"), content, name);
  return new Promise((done) => {
    let late = false;
    let timer;
    const request = $.ajax({
      url: $form.attr("action"), method: "POST", data: form, contentType: false, processData: false,
      dataType: "html", headers: { Accept: "text/html" },
      xhr: () => {
        const xhr = $.ajaxSettings.xhr();
        xhr.upload.addEventListener("progress", (event) => {
          watch();
          if (event.lengthComputable) onProgress(Math.round((100 * event.loaded) / event.total));
        });
        return xhr;
      },
    });
    const stop = () => request.abort();
    const watch = () => {
      clearTimeout(timer);
      timer = setTimeout(() => { late = true; stop(); }, 1000 * SILENCE);
    };
    watch();
    signal.addEventListener("abort", stop);
    request.always(() => {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      done({ xhr: request, late });
    });
  });
}
