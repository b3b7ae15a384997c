// Random numbers from a seed: uniform ones by mulberry32 (Tommy Ettinger's generator of 32 bits of state), and
// normal ones from pairs of them,
//
//     sqrt(-2 log u) cos(2 pi v),    sqrt(-2 log u) sin(2 pi v)               (Box and Muller 1958)

/** Return the generator of a seed: `uniform()` in [0, 1), `normal()`, and `normals(n)`. */
export function generator(seed) {
  let state = seed >>> 0, kept = null;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const normal = () => {
    if (kept !== null) { const last = kept; kept = null; return last; }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
    kept = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
  const normals = (n) => {
    const out = new Float64Array(n);
    for (let i = 0; i < n; i++) out[i] = normal();
    return out;
  };
  return {uniform, normal, normals};
}
