// Arrays of the page's data, as Float64Array. Each has a kind, a place and a shape in the index:
//
//     f4, f8, u1    numbers as they are
//     i2, i3        integers of 16 or 24 bits with a scale for each column (single precision): first the scales,
//                   then the lowest bytes of all integers, then the next ones

/** Return the function that reads an array by its name: `{values, shape}`, or null if there is none. */
export function arrayReader(index, buffer) {
  return (name) => {
    const entry = index[name];
    if (!entry) return null;
    const [kind, place, ...shape] = entry, size = shape.reduce((a, b) => a * b, 1);
    if (kind === "f4") return {values: Float64Array.from(new Float32Array(buffer, place, size)), shape};
    if (kind === "f8") return {values: new Float64Array(buffer.slice(place, place + 8 * size)), shape};
    if (kind === "u1") return {values: Float64Array.from(new Uint8Array(buffer, place, size)), shape};
    return {values: scaledIntegers(buffer, place, size, shape[1], kind === "i2" ? 2 : 3), shape};
  };
}

function scaledIntegers(buffer, place, size, columns, width) {
  const scale = new Float32Array(buffer, place, columns), values = new Float64Array(size);
  const bytes = new Uint8Array(buffer, place + 4 * columns, width * size), highest = (width - 1) * size;
  for (let k = 0; k < size; k++) {
    let integer = (bytes[highest + k] << 24) >> 24; // with its sign
    for (let plane = highest - size; plane >= 0; plane -= size) integer = integer * 256 + bytes[plane + k];
    values[k] = integer * scale[k % columns];
  }
  return values;
}
