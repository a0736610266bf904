// The square over the photo: moved, resized and turned with finger, mouse and keyboard.

import { decode, drawWithin } from "./pixels.js";

const [SHORTEST, LONGEST] = [480, 1000]; // pixels of the stage's longer side
const STEP = 0.02; // of the photo's smaller side, for a key
const stage = document.getElementById("stage");
const size = document.getElementById("cut-size");
const pointers = new Map(); // of the fingers on the stage: id -> {x, y}, in pixels of the photo
let photo = null;
let picture = null; // of the photo, as large as the stage needs
let changed = null; // is called after each change

export async function openCutter(chosen, whenChanged) {
  photo = chosen;
  changed = whenChanged;
  picture = chosen.preview;
  $("#cutter").prop("hidden", false);
  $(".edit").attr("aria-pressed", "false");
  chosen.$item.find(".edit").attr("aria-pressed", "true");
  redraw();
  const whole = await decode(chosen.file);
  if (whole && photo === chosen) {
    picture = drawWithin(whole, LONGEST);
    redraw();
  }
  if (whole) whole.close();
}

function redraw() {
  const { x, y, side } = current();
  const least = Math.min(photo.width, photo.height);
  size.value = (100 * side) / least;
  const zoom = Math.max(1, SHORTEST / Math.max(picture.width, picture.height));
  Object.assign(stage, { width: picture.width * zoom, height: picture.height * zoom });
  const scale = stage.width / photo.width;
  const context = stage.getContext("2d");
  context.drawImage(picture, 0, 0, stage.width, stage.height);
  const [left, top, length] = [(x - side / 2) * scale, (y - side / 2) * scale, side * scale];
  context.fillStyle = "rgb(0 0 0 / 55%)";
  context.beginPath();
  context.rect(0, 0, stage.width, stage.height);
  context.rect(left, top, length, length);
  context.fill("evenodd");
  const line = stage.width / Math.max(1, stage.clientWidth);
  [["#000", 4], ["#fff", 2]].forEach(([colour, width]) => {
    context.strokeStyle = colour;
    context.lineWidth = width * line;
    context.strokeRect(left, top, length, length);
  });
  // An arrow marks the edge that will be on top.
  const [middle, reach] = [length / 2, 10 * line];
  context.translate(left + middle, top + middle);
  context.rotate((-photo.turns * Math.PI) / 2);
  context.fillStyle = "#fff";
  context.beginPath();
  context.moveTo(-reach, -middle);
  context.lineTo(0, -middle - reach);
  context.lineTo(reach, -middle);
  context.fill();
  changed();
}

function current() {
  const least = Math.min(photo.width, photo.height);
  return photo.square || { x: photo.width / 2, y: photo.height / 2, side: least };
}

function choose(square) {
  photo.square = square;
  photo.touched = true;
  redraw();
}

function place(square) {
  const least = Math.min(photo.width, photo.height);
  const side = Math.min(least, Math.max(0.04 * least, square.side));
  const inside = (centre, length) => Math.min(Math.max(centre, side / 2), length - side / 2);
  choose({ x: inside(square.x, photo.width), y: inside(square.y, photo.height), side });
}

function move(x, y) {
  const square = current();
  place({ ...square, x: square.x + x, y: square.y + y });
}

function resize(factor) {
  const square = current();
  place({ ...square, side: square.side * factor });
}

function turnAround() {
  photo.turns = (photo.turns + 1) % 4;
  redraw();
}

function locate(event) {
  const box = stage.getBoundingClientRect();
  const scale = photo.width / box.width;
  return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
}

const spread = () => {
  const [first, second] = pointers.values();
  return Math.hypot(first.x - second.x, first.y - second.y);
};

$(stage)
  .on("pointerdown", ({ originalEvent: event }) => {
    const at = locate(event);
    const { x, y, side } = current();
    // A tap beside the square brings it there.
    if (!pointers.size && Math.max(Math.abs(at.x - x), Math.abs(at.y - y)) > side / 2) place({ ...at, side });
    pointers.set(event.pointerId, at);
    stage.setPointerCapture(event.pointerId);
  })
  .on("pointermove", ({ originalEvent: event }) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const apart = pointers.size === 2 && spread();
    const at = locate(event);
    pointers.set(event.pointerId, at);
    if (apart) resize(spread() / apart);
    else move(at.x - before.x, at.y - before.y);
  })
  .on("pointerup pointercancel", ({ originalEvent: event }) => pointers.delete(event.pointerId))
  .on("wheel", ({ originalEvent: event }) => {
    if (document.activeElement !== stage) return; // else the page scrolls
    event.preventDefault();
    resize(event.deltaY > 0 ? 1.05 : 1 / 1.05);
  })
  .on("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = STEP * Math.min(photo.width, photo.height);
    const keys = {
      ArrowLeft: () => move(-step, 0), ArrowRight: () => move(step, 0),
      ArrowUp: () => move(0, -step), ArrowDown: () => move(0, step),
      "+": () => resize(1.05), "-": () => resize(1 / 1.05), r: turnAround, R: turnAround,
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
$(size).on("input", () => place({ ...current(), side: (size.value / 100) * Math.min(photo.width, photo.height) }));
$("#cut-turn").on("click", turnAround);
$("#cut-suggest").on("click", () => choose(photo.closer));
$("#cut-whole").on("click", () => choose(null));
