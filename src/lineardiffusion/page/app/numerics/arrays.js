// Arrays of the page's data, as Float64Array. Each has a kind, a place and a shape in the index:
//
//     f4, f8, u1    numbers as they are
//     i2            integers of 16 bits with a scale for each column (single precision): first the scales, then the
//                   lower bytes of all integers, then the higher ones

/** Return the function that reads an array by its name: `{values, shape}`, or null if there is none. */
export function arrayReader(index, buffer) {
  return (name) => {
    const entry = index[name];
    if (!entry) return null;
    const [kind, place, ...shape] = entry, size = shape.reduce((a, b) => a * b, 1);
    if (kind === "f4") return {values: Float64Array.from(new Float32Array(buffer, place, size)), shape};
    if (kind === "f8") return {values: new Float64Array(buffer.slice(place, place + 8 * size)), shape};
    if (kind === "u1") return {values: Float64Array.from(new Uint8Array(buffer, place, size)), shape};
    return {values: scaledIntegers(buffer, place, size, shape[1]), shape};
  };
}

function scaledIntegers(buffer, place, size, columns) {
  const scale = new Float32Array(buffer, place, columns), bytes = new Uint8Array(buffer, place + 4 * columns, 2 * size);
  const values = new Float64Array(size);
  for (let k = 0; k < size; k++) {
    const integer = ((bytes[size + k] << 24) >> 16) | bytes[k]; // with its sign
    values[k] = integer * scale[k % columns];
  }
  return values;
}
