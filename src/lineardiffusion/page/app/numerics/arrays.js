// Arrays of the page's data, as Float64Array. Each has a kind, a place and a shape in the index:
//
//     f4, f8, u1    numbers as they are
//     i2            rows of integers of 16 bits with a scale each (single precision); first the lower bytes of all
//                   integers, then the higher ones

/** Return the function that reads an array by its name: `{values, shape}`, or null if there is none. */
export function arrayReader(index, buffer) {
  return (name) => {
    const entry = index[name];
    if (!entry) return null;
    const [kind, place, ...shape] = entry, size = shape.reduce((a, b) => a * b, 1);
    if (kind === "f4") return {values: Float64Array.from(new Float32Array(buffer, place, size)), shape};
    if (kind === "f8") return {values: new Float64Array(buffer.slice(place, place + 8 * size)), shape};
    if (kind === "u1") return {values: Float64Array.from(new Uint8Array(buffer, place, size)), shape};
    return {values: scaledIntegers(buffer, place, size, shape), shape};
  };
}

function scaledIntegers(buffer, place, size, shape) {
  const columns = shape[shape.length - 1], rows = size / columns;
  const scale = new Float32Array(buffer, place, rows), bytes = new Uint8Array(buffer, place + 4 * rows, 2 * size);
  const values = new Float64Array(size);
  for (let i = 0, k = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++, k++) values[k] = (((bytes[size + k] << 24) >> 16) | bytes[k]) * scale[i];
  }
  return values;
}
