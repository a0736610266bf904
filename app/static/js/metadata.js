// A JPEG without what it tells about camera, place and people. Its pixels stay as they are.

const [SCAN, EXIF, COMMENT, ADOBE] = [0xda, 0xe1, 0xfe, 0xee]; // markers; ADOBE tells how colours are stored

// The file as a Blob; what cannot be followed to the pixels is returned as it is.
export async function stripMetadata(file) {
  const buffer = await file.arrayBuffer();
  const view = new DataView(buffer);
  const kept = [buffer.slice(0, 2)];
  let orientation = 1;
  for (let at = 2; at + 4 <= buffer.byteLength && view.getUint8(at) === 0xff;) {
    const marker = view.getUint8(at + 1);
    if (marker === SCAN) {
      kept.splice(1, 0, buildOrientation(orientation));
      return new Blob([...kept, buffer.slice(at)], { type: "image/jpeg" });
    }
    const end = at + 2 + view.getUint16(at + 2);
    if (marker === EXIF) orientation = readOrientation(view, at + 10, end) || orientation;
    if ((marker <= 0xe0 || marker > 0xef || marker === ADOBE) && marker !== COMMENT) kept.push(buffer.slice(at, end));
    at = end;
  }
  return file;
}

// The orientation in the TIFF header at `start`, or undefined.
function readOrientation(view, start, end) {
  const last = Math.min(end, view.byteLength);
  if (last - start < 8 || view.getUint32(start - 6) !== 0x45786966) return undefined; // "Exif"
  const little = view.getUint16(start) === 0x4949;
  const folder = start + view.getUint32(start + 4, little);
  const entries = folder + 2 <= last ? view.getUint16(folder, little) : 0;
  for (let i = 0; i < entries && folder + 2 + 12 * (i + 1) <= last; i += 1) {
    const entry = folder + 2 + 12 * i;
    if (view.getUint16(entry, little) === 0x0112) return view.getUint16(entry + 8, little);
  }
  return undefined;
}

function buildOrientation(orientation) {
  if (orientation === 1) return new Uint8Array();
  return new Uint8Array([
    0xff, EXIF, 0, 34, 0x45, 0x78, 0x69, 0x66, 0, 0, // "Exif"
    0x4d, 0x4d, 0, 42, 0, 0, 0, 8, 0, 1, // one entry
    0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0,
  ]);
}
