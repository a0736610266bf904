// The photos that were chosen and have no result yet, and their previews.

import { decode, drawWithin, findCut, inspect } from "./pixels.js";
import { $form, fill, tell } from "./texts.js";

const MAX_PHOTOS = 200;
const SUGGESTED_FROM = 160; // pixels, on the longer side
const PREVIEW = 320;
const $previews = $("#previews");
let photos = []; // {file, order, state, type, animated, drawable, width, height, square, turns, ready…}
let given = 0;
// What only a photo needs is loaded with the first one, so that the page weighs less.
const later = { cutter: () => import("./cutter.js"), suggestion: () => import("./suggest.js") };
let preparing = Promise.resolve(); // one after the other: a large photo takes 50 MB when it is drawn

export const listPhotos = () => photos.slice();

export function addPhotos(files) {
  const room = MAX_PHOTOS - photos.length;
  const added = Array.from(files).slice(0, Math.max(0, room)).map((file) => ({ file, order: (given += 1), turns: 0, square: null }));
  added.forEach((photo) => {
    photo.ready = preparing = preparing.then(() => prepare(photo)).catch(() => {});
    $previews.append(buildPreview(photo));
  });
  photos.push(...added);
  tell(files.length > room ? "tooMany" : "", { n: MAX_PHOTOS });
  showButtons();
  if (added.length) $("#send").trigger("focus");
}

export function removePhoto(photo) {
  photos = photos.filter((other) => other !== photo);
  photo.$item.remove();
  $("#cutter").prop("hidden", true);
  showButtons();
}

export function clearPhotos() {
  listPhotos().forEach(removePhoto);
  tell("");
}

function showButtons() {
  $("#clear").prop("hidden", photos.length === 0);
}

async function prepare(photo) {
  if (!photos.includes(photo)) return;
  Object.assign(photo, await inspect(photo.file));
  const picture = photo.animated ? null : await decode(photo.file);
  photo.drawable = picture !== null;
  if (!picture) {
    showName(photo);
    return;
  }
  Object.assign(photo, { width: picture.width, height: picture.height });
  photo.preview = drawWithin(picture, PREVIEW);
  picture.close();
  await suggest(photo);
  showPreview(photo);
  if (photos.length === 1) await edit(photo);
}

// Find where the square could lie: at first, and closer to the spot.
async function suggest(photo) {
  const { suggestSquares } = await later.suggestion();
  const small = drawWithin(photo.preview, SUGGESTED_FROM);
  const { data } = small.getContext("2d").getImageData(0, 0, small.width, small.height);
  const { first, closer } = suggestSquares(data, small.width, small.height);
  const scale = photo.width / small.width;
  // The model looks at the centre of what is sent.
  const enlarge = (found) => found && { x: found.x * scale, y: found.y * scale, side: (found.side * scale) / $form.data("crop") };
  Object.assign(photo, { square: enlarge(first), closer: enlarge(closer) });
}

function buildPreview(photo) {
  const name = photo.file.name;
  const $edit = $("<button>", { type: "button", class: "edit", "aria-label": fill("cut", { name }), disabled: true });
  const $remove = $("<button>", { type: "button", class: "remove", text: "×", "aria-label": fill("remove", { name }) });
  $edit.on("click", async () => { await edit(photo); $("#stage").trigger("focus"); });
  $remove.on("click", () => { removePhoto(photo); $("#photos").trigger("focus"); });
  photo.$item = $("<li>").append($edit, $remove);
  return photo.$item;
}

function showName(photo) {
  const heic = /\.hei[cf]$/i.test(photo.file.name);
  const text = photo.animated ? "animatedShort" : heic ? "noHeicPreview" : "noPreview";
  photo.$item.find(".edit").replaceWith(
    $("<span>", { class: "name", text: photo.file.name }), $("<span>", { text: fill(text) })
  );
}

function showPreview(photo) {
  const { x, y, w } = findCut(photo);
  const scale = photo.preview.width / photo.width;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 160;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", photo.file.name);
  const context = canvas.getContext("2d");
  context.translate(80, 80);
  context.rotate((photo.turns * Math.PI) / 2);
  context.drawImage(photo.preview, x * scale, y * scale, w * scale, w * scale, -80, -80, 160, 160);
  photo.$item.find(".edit").prop("disabled", false).empty().append(canvas);
}

export async function edit(photo) {
  const { openCutter } = await later.cutter();
  if ($form.attr("aria-busy") === "true") return; // it is being sent already
  await openCutter(photo, () => showPreview(photo));
}
