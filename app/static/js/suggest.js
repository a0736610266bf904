// Where the spot is in a photo: the blob that differs most from the skin around it. Pure functions.

const TERMS = 6; // the skin is a quadratic surface in each channel, so that light may fall unevenly
const ROUNDS = 4; // of fitting the skin to what the round before took for skin
const RIM = 0.15; // of width and height
// The square's side, in diameters of the spot: as in the median of the plain photos and of the dermoscopic
// ones that the model learned from.
const [WIDE, CLOSE] = [4, 1.6];
const SMALL = 0.11; // of the photo's smaller side: nine in ten of the plain ones had a larger spot
const LEAST_CONTRAST = 5; // of the spot against the skin, in deviations of the skin
const LEAST_AREA = 0.0008; // of the photo
const LEAST_SHARE = 0.6; // of all that stands out

// Suggest squares to cut from a photo. The first is null where the spot is as large as in the photos
// learned from: cut more closely, plain photos got lower scores for melanomas. The closer one is for a
// photo that was refused, and null where it would show the same.
// pixels: RGBA of width x height, some 160 px on the longer side, so that hairs and grain fade.
// Returns {first, closer}, each {x, y, side}: centre and side in pixels, wholly inside, or null.
export function suggestSquares(pixels, width, height) {
  const spot = findSpot(smooth(compareWithSkin(pixels, width, height), width, height), width, height);
  if (!spot) return { first: null, closer: null };
  const least = Math.min(width, height);
  const lay = (side) => {
    const inside = (centre, length) => Math.min(Math.max(centre, side / 2), length - side / 2);
    return { x: inside(spot.x, width), y: inside(spot.y, height), side };
  };
  return {
    first: spot.size < SMALL * least ? lay(WIDE * spot.size) : null,
    closer: CLOSE * spot.size < least ? lay(CLOSE * spot.size) : null,
  };
}

// How much each pixel differs from the skin, in deviations of the skin.
function compareWithSkin(pixels, width, height) {
  const count = width * height;
  const terms = new Float64Array(count * TERMS);
  for (let i = 0; i < count; i += 1) {
    const x = (2 * (i % width)) / width - 1;
    const y = (2 * Math.floor(i / width)) / height - 1;
    terms.set([1, x, y, x * x, x * y, y * y], i * TERMS);
  }
  // Lightness, red against green, yellow against blue.
  const channels = [0, 1, 2].map(() => new Float64Array(count));
  for (let i = 0; i < count; i += 1) {
    const [r, g, b] = pixels.subarray(4 * i, 4 * i + 3);
    channels[0][i] = (r + g + b) / 3;
    channels[1][i] = r - g;
    channels[2][i] = (r + g) / 2 - b;
  }
  // The rim of a photo is skin, be the spot large or small.
  let isSkin = Uint8Array.from({ length: count }, (_, i) => {
    const x = i % width;
    const y = Math.floor(i / width);
    return Math.min(x / width, y / height, 1 - x / width, 1 - y / height) < RIM;
  });
  const difference = new Float64Array(count);
  for (let round = 0; round < ROUNDS; round += 1) {
    difference.fill(0);
    channels.forEach((values, channel) => {
      const surface = fit(terms, values, isSkin);
      const rest = values.map((value, i) => {
        let expected = 0;
        for (let k = 0; k < TERMS; k += 1) expected += surface[k] * terms[i * TERMS + k];
        return value - expected;
      });
      const deviation = Math.max(1.5, 1.48 * median(rest.filter((_, i) => isSkin[i]).map(Math.abs)));
      rest.forEach((value, i) => {
        // What is lighter than skin is a reflection.
        const counted = channel === 0 ? Math.min(value, 0) : value;
        difference[i] += (counted / deviation) ** 2;
      });
    });
    isSkin = Uint8Array.from(difference, (value) => value < 12);
  }
  return difference.map((value) => Math.min(Math.sqrt(value), 40));
}

// Least squares over the chosen pixels: the coefficients of `terms`.
function fit(terms, values, chosen) {
  const rows = Array.from({ length: TERMS }, () => new Float64Array(TERMS + 1));
  for (let i = 0; i < values.length; i += 1) {
    if (!chosen[i]) continue;
    const at = i * TERMS;
    for (let j = 0; j < TERMS; j += 1) {
      for (let k = j; k < TERMS; k += 1) rows[j][k] += terms[at + j] * terms[at + k];
      rows[j][TERMS] += terms[at + j] * values[i];
    }
  }
  for (let j = 0; j < TERMS; j += 1) {
    for (let k = 0; k < j; k += 1) rows[j][k] = rows[k][j];
    rows[j][j] += 1e-6;
  }
  for (let j = 0; j < TERMS; j += 1) {
    for (let row = j + 1; row < TERMS; row += 1) {
      const factor = rows[row][j] / rows[j][j];
      for (let k = j; k <= TERMS; k += 1) rows[row][k] -= factor * rows[j][k];
    }
  }
  const solution = new Float64Array(TERMS);
  for (let j = TERMS - 1; j >= 0; j -= 1) {
    let rest = rows[j][TERMS];
    for (let k = j + 1; k < TERMS; k += 1) rest -= rows[j][k] * solution[k];
    solution[j] = rest / rows[j][j];
  }
  return solution;
}

function median(values) {
  return values.length ? values.sort()[values.length >> 1] : 0; // a typed array sorts numbers
}

// The mean of each pixel and its neighbours, twice: hairs and grain fade.
function smooth(values, width, height) {
  let result = values;
  for (let time = 0; time < 2; time += 1) {
    const from = result;
    result = from.map((_, i) => {
      const x = i % width;
      let sum = 0;
      let count = 0;
      for (let j = Math.max(i - width, x); j <= Math.min(i + width, width * height - 1); j += width) {
        for (let k = x ? j - 1 : j; k <= (x < width - 1 ? j + 1 : j); k += 1) {
          sum += from[k];
          count += 1;
        }
      }
      return sum / count;
    });
  }
  return result;
}

// The blob that stands out most: its centre and diameter, or null.
function findSpot(difference, width, height) {
  const limit = Math.max(LEAST_CONTRAST, split(difference));
  const seen = new Uint8Array(difference.length);
  let best = { score: 0 };
  let total = 0;
  for (let start = 0; start < difference.length; start += 1) {
    if (seen[start] || difference[start] < limit) continue;
    const blob = measureBlob(difference, width, height, limit, seen, start);
    if (blob.area < LEAST_AREA * width * height) continue;
    total += blob.score;
    if (blob.score > best.score) best = blob;
  }
  return best.score > LEAST_SHARE * total ? best : null;
}

function measureBlob(difference, width, height, limit, seen, start) {
  const waiting = [start];
  seen[start] = 1;
  let [area, sum, rim, left, right, top, bottom] = [0, 0, 0, width, 0, height, 0];
  while (waiting.length) {
    const i = waiting.pop();
    const x = i % width;
    const y = Math.floor(i / width);
    area += 1;
    sum += difference[i];
    [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
    if (x === 0 || y === 0 || x === width - 1 || y === height - 1) rim += 1;
    const neighbours = [x && i - 1, x < width - 1 && i + 1, y && i - width, y < height - 1 && i + width];
    for (const each of neighbours) {
      if (each !== 0 && each !== false && !seen[each] && difference[each] >= limit) {
        seen[each] = 1;
        waiting.push(each);
      }
    }
  }
  const [w, h] = [right - left + 1, bottom - top + 1];
  const x = (left + right + 1) / 2;
  const y = (top + bottom + 1) / 2;
  const away = Math.hypot((2 * x) / width - 1, (2 * y) / height - 1);
  const round = area / Math.max(w, h) ** 2; // a disc has 0.79, a hair or an edge little
  const apart = 1 - Math.min(1, (3 * rim) / (w + h)); // from the photo's rim
  return { area, x, y, size: Math.max(w, h), score: (sum * round * apart) / (1 + away * away) };
}

// The limit that parts the values best in two (Otsu 1979).
function split(values) {
  const bins = new Float64Array(81);
  values.forEach((value) => { bins[Math.round(2 * value)] += 1; });
  const total = values.length;
  const mean = bins.reduce((sum, n, i) => sum + n * i, 0);
  let [below, belowSum, best, limit] = [0, 0, -1, 0];
  for (let i = 0; i < bins.length - 1; i += 1) {
    below += bins[i];
    belowSum += bins[i] * i;
    if (below === 0 || below === total) continue;
    const apart = (belowSum / below - (mean - belowSum) / (total - below)) ** 2 * below * (total - below);
    if (apart > best) [best, limit] = [apart, (i + 0.5) / 2];
  }
  return limit;
}
