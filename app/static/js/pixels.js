// From a file to pixels, and to what is sent.

import { stripMetadata } from "./metadata.js";

const MAX_SIDE = 1024; // pixels of a cut that is sent; the model looks at a few hundred
const MAX_WHOLE = 8e6; // bytes of a photo that is sent uncut
const MAX_DRAWN = 4096; // pixels of a canvas's side: iPhones draw none of more than 4096 x 4096
const QUALITY = 0.95;

// What a file is by its first bytes, and whether it is an animation: {type, animated}.
export async function inspect(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const text = (from, to) => String.fromCharCode(...bytes.subarray(from, to));
  if (text(0, 4) === "GIF8") return { type: "gif", animated: countGifFrames(bytes) > 1 };
  if (text(0, 2) === "\xff\xd8") return { type: "jpeg", animated: false };
  if (text(1, 4) === "PNG") return { type: "png", animated: hasChunk(bytes, "acTL", "IDAT") };
  if (text(8, 12) === "WEBP") return { type: "webp", animated: text(12, 16) === "VP8X" && (bytes[20] & 2) !== 0 };
  return { type: "other", animated: text(4, 12) === "ftypavis" };
}

function hasChunk(bytes, wanted, last) {
  const view = new DataView(bytes.buffer);
  for (let at = 8; at + 8 <= bytes.length; at += 12 + view.getUint32(at)) {
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (name === wanted || name === last) return name === wanted;
  }
  return false;
}

function countGifFrames(bytes) {
  const colours = (flags) => (flags & 128 ? 3 << ((flags & 7) + 1) : 0);
  const skipBlocks = (at) => {
    let next = at;
    while (bytes[next]) next += bytes[next] + 1;
    return next + 1;
  };
  let frames = 0;
  let at = 13 + colours(bytes[10]);
  while (at < bytes.length && bytes[at] !== 0x3b) {
    if (bytes[at] === 0x2c) {
      frames += 1;
      at = skipBlocks(at + 11 + colours(bytes[at + 9]));
    } else at = skipBlocks(at + 2);
  }
  return frames;
}

// The photo upright, or null where this browser cannot draw it. The server ignores colour profiles,
// and training did, so that they are ignored here too.
export async function decode(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    return null;
  }
}

// The part {x, y, side} of a picture, or all of it, drawn `width` by `height` pixels on white, as the
// server does behind transparent pixels.
export function draw(picture, width, height, part) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  const { x, y, w, h } = part || { x: 0, y: 0, w: picture.width, h: picture.height };
  context.drawImage(picture, x, y, w, h, 0, 0, width, height);
  return canvas;
}

export function drawWithin(picture, longest) {
  const scale = Math.min(1, longest / Math.max(picture.width, picture.height));
  return draw(picture, Math.max(1, Math.round(picture.width * scale)), Math.max(1, Math.round(picture.height * scale)));
}

// The square that a photo is cut to, whole pixels: the given one, or the largest in the centre.
export function findCut(photo) {
  const least = Math.min(photo.width, photo.height);
  const { x, y, side } = photo.square || { x: photo.width / 2, y: photo.height / 2, side: least };
  const w = Math.max(1, Math.min(least, Math.round(side)));
  const from = (centre, length) => Math.min(Math.max(0, Math.round(centre - w / 2)), length - w);
  return { x: from(x, photo.width), y: from(y, photo.height), w, h: w };
}

// What is sent of a photo: the square as a JPEG, or where nothing is cut, the photo itself: drawn anew,
// even losslessly, 20 photos got scores that differed by 0.007 in the median and by 0.08 at most.
export async function makeContent(photo) {
  const { file, type } = photo;
  if (!photo.drawable) return file;
  const whole = !photo.square && !photo.turns && file.size <= MAX_WHOLE;
  if (whole && type === "jpeg") return stripMetadata(file);
  if (whole && ["png", "webp"].includes(type)) return file;
  const picture = await decode(photo.file);
  if (!picture) return photo.file;
  const part = findCut(photo);
  const side = Math.min(part.w, MAX_DRAWN);
  const cut = shrink(draw(picture, side, side, part));
  picture.close();
  const turned = turn(cut, photo.turns);
  return new Promise((done) => turned.toBlob((blob) => done(blob || photo.file), "image/jpeg", QUALITY));
}

// Each pixel of the smaller square is the mean of those that it covers.
function shrink(canvas) {
  const factor = Math.ceil(canvas.width / MAX_SIDE);
  if (factor === 1) return canvas;
  const side = Math.floor(canvas.width / factor);
  const from = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const to = new ImageData(side, side);
  const sums = new Float64Array(3);
  for (let i = 0; i < side * side; i += 1) {
    const corner = factor * (canvas.width * Math.floor(i / side) + (i % side));
    sums.fill(0);
    for (let row = 0; row < factor; row += 1) {
      const start = 4 * (corner + row * canvas.width);
      for (let at = start; at < start + 4 * factor; at += 4) {
        sums[0] += from.data[at];
        sums[1] += from.data[at + 1];
        sums[2] += from.data[at + 2];
      }
    }
    for (let k = 0; k < 3; k += 1) to.data[4 * i + k] = sums[k] / factor ** 2;
    to.data[4 * i + 3] = 255;
  }
  Object.assign(canvas, { width: side, height: side });
  canvas.getContext("2d").putImageData(to, 0, 0);
  return canvas;
}

// A square turned by quarters to the right.
function turn(canvas, quarters) {
  if (!quarters) return canvas;
  const turned = document.createElement("canvas");
  turned.width = turned.height = canvas.width;
  const context = turned.getContext("2d");
  context.translate(canvas.width / 2, canvas.width / 2);
  context.rotate((quarters * Math.PI) / 2);
  context.drawImage(canvas, -canvas.width / 2, -canvas.width / 2);
  return turned;
}
