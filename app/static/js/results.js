// The results: they stay until they are cleared, in a table that sorts, filters and downloads.

import { fill } from "./texts.js";

const MANY = 4; // photos, from which on the cards open from the table one at a time
const COLUMNS = ["name", "verdict", "label", "probability", "lowest", "highest", "uncertain", "threshold", "modality", "reasons", "version"];
const ORDER = ["low", "middle", "high"];
const $here = $("#result");
const rows = () => $("#overview tbody tr");

export const countResults = () => rows().length;

// Add the server's answer for a photo, in the place of an earlier one.
export function addResult($result, photo) {
  forgetOne(photo);
  const $earlier = $here.children(".answer, .problem");
  const $row = $result.find("#overview tbody tr");
  const $card = $result.children(".answer, .problem");
  if (!$here.children(".facts").length && $row.length) {
    // The first answer brings the table, unless there is one of photos that got none.
    const $table = $here.children("#overview");
    if ($table.length) $result.children("#overview").replaceWith($table);
    else $row.detach();
    $here.append($result.children());
    const before = (_, other) => $(other).data("order") < photo.order;
    $card.before($earlier.filter(before)).after($earlier.not($earlier.filter(before)));
  } else {
    addKinds($result.find(".facts .kind"));
    const $next = $here.children(".answer, .problem").filter((_, other) => $(other).data("order") > photo.order).first();
    const $last = $here.children("#overview, .answer, .problem").last();
    if ($next.length) $next.before($card);
    else if ($last.length) $last.after($card);
    else $here.append($card);
  }
  if (!$card.find(".file").length) $card.prepend($("<p>", { class: "file", text: photo.file.name }));
  $card.data("order", photo.order);
  if (!$card.attr("id")) $card.attr({ id: `refused-${photo.order}`, tabindex: -1 });
  insertRow($row.length ? $row : buildRow(photo, $card.find("h2").text(), $card.find("h2 + p").text()), photo, $card);
  return $card;
}

// Add a row for a photo that got no answer.
export function addFailure(photo, text, reason) {
  forgetOne(photo);
  const $row = buildRow(photo, text, reason);
  $row.find(".result").append($("<p>", { class: "small", text: reason }));
  insertRow($row, photo, $());
}

// Show the table also where no photo of several got an answer.
export function showFailures() {
  if (waiting.length < 2) return;
  $here.prepend(document.getElementById("table").content.cloneNode(true));
  insertWaiting();
}

function buildRow(photo, text, reason) {
  const $row = $("<tr>", { role: "row", class: "none" }).attr({ "data-name": photo.file.name, "data-reasons": reason });
  const $cells = ["thumb", "", "result", "number"].map((name) => $("<td>", { role: "cell", class: name }));
  $cells[1].append($("<span>", { class: "file", text: photo.file.name }));
  $cells[2].text(text);
  $cells[3].text("–");
  return $row.append($cells);
}

// Rows wait until the table exists: it comes with the first answer, or at the end.
let waiting = [];

function insertRow($row, photo, $card) {
  photo.$row = $row;
  photo.$card = $card;
  $row.data("order", photo.order);
  if (photo.preview && !$row.find("img").length) {
    const source = $card.find(".square img").attr("src") || photo.preview.toDataURL("image/jpeg", 0.7);
    $row.find(".thumb").append($("<img>", { src: source, alt: "", width: 48, height: 48 }));
  }
  if ($card.length && !$row.find("a").length) {
    $row.find(".file").replaceWith($("<a>", { class: "file", href: `#${$card.attr("id")}`, text: photo.file.name }));
  }
  waiting.push($row);
  if ($("#overview").length) insertWaiting();
}

function insertWaiting() {
  waiting.forEach(($each) => {
    const $next = rows().filter((_, other) => $(other).data("order") > $each.data("order")).first();
    if ($next.length) $next.before($each);
    else $("#overview tbody").append($each);
  });
  waiting = [];
  show();
}

function forgetOne(photo) {
  if (photo.$row) photo.$row.remove();
  if (photo.$card) photo.$card.remove();
  waiting = waiting.filter(($row) => $row !== photo.$row);
}

function addKinds($kinds) {
  const known = $here.find(".facts .kind").map((_, kind) => kind.dataset.kind).get();
  const $new = $kinds.filter((_, kind) => !known.includes(kind.dataset.kind));
  $here.find(".facts .kind").last().after($new);
}

function show() {
  const count = rows().length;
  $("#overview").prop("hidden", count < 2);
  $here.toggleClass("several", count > 1).toggleClass("many", count >= MANY);
  const filter = $("#filter").val();
  rows().each((_, row) => { row.hidden = Boolean(filter) && !row.classList.contains(filter); });
  $("#printed").text(new Date().toLocaleString(document.documentElement.lang));
}

function sortRows() {
  const $head = $(this).closest("th");
  const { by } = this.dataset;
  const order = $head.attr("aria-sort") === "descending" ? "ascending" : "descending";
  const sign = order === "ascending" ? 1 : -1;
  const rank = (row) => {
    if (by === "name") return row.dataset.name;
    if (by === "verdict") return ORDER.indexOf(row.dataset.verdict);
    return row.dataset.verdict ? Number(row.dataset.probability) : -1;
  };
  const compare = (a, b) => (by === "name" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
  $("#overview tbody").append(rows().get().sort((a, b) => sign * compare(rank(a), rank(b))));
  $("#overview th").attr("aria-sort", "none");
  $head.attr("aria-sort", order);
}

function quote(value = "") {
  // A spreadsheet would run a cell that begins like a formula.
  const safe = /^'*[=+\-@\t\r\n]/.test(value) ? `'${value}` : value;
  return `"${safe.replaceAll('"', '""')}"`;
}

function downloadTable() {
  const lines = rows().get().map((row) => COLUMNS.map((column) => quote(row.dataset[column])).join(","));
  const csv = [COLUMNS.join(","), ...lines].join("\r\n") + "\r\n";
  const url = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
  $("<a>", { href: url, download: "melanoma-check.csv" })[0].click();
  URL.revokeObjectURL(url);
}

function openCard(event) {
  event.preventDefault();
  const $card = $(document.getElementById(this.hash.slice(1)));
  $here.children(".open").removeClass("open");
  $card.addClass("open").trigger("focus");
  $card[0].scrollIntoView();
}

$(document)
  .on("click", "#overview a.file", openCard)
  .on("click", ".sort", sortRows)
  .on("input", "#filter", show)
  .on("click", ".csv", downloadTable)
  .on("click", ".print", () => window.print())
  .on("click", "#forget", () => {
    if (!window.confirm(fill("forget"))) return;
    $here.empty().removeClass("several many");
    waiting = [];
    $("#photos").trigger("focus");
  })
  .on("input", ".heat-strength", function () {
    $(this).closest(".seen").find(".heatmap").css("opacity", this.value / 100);
  });
$(window).on("beforeprint", () => $here.find("details").prop("open", true));
$(window).on("beforeunload", (event) => { if (rows().length > 1) event.preventDefault(); });
