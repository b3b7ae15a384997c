// The probability-flow ODE of any denoiser, solved numerically. In y = x / alpha and u = log(sigma / alpha) it is
//
//     dy/du = y - D(y; 1, e^u),
//
// and for w = y cos, where tan = e^u and so w = cos z + sin n,
//
//     dw/du = cos^2 w - cos D(w; cos, sin),
//
// which vanishes at both ends. The method is Dormand and Prince's of order 5 with adaptive steps (Hairer, Norsett
// and Wanner 1993, table II.5.2). All rows of a map are solved for at once.

const TOLERANCE = 1e-6; // of a step, in units of the latents and relative
const NOISE_ONLY = 1e6, NO_NOISE = 1e-7; // sigma / alpha beyond which one step does for the rest
const LARGEST = 4; // step in u
const NODES = [0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1];
const TABLE = [
  [],
  [1 / 5],
  [3 / 40, 9 / 40],
  [44 / 45, -56 / 15, 32 / 9],
  [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
  [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
  [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
];
const ERROR = [71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40];

/** Solve the flow of a state from one level [alpha, sigma] to another. */
export function integrate(denoise, state, [alpha, sigma], [alphaEnd, sigmaEnd]) {
  const ratio = alpha > 0 ? sigma / alpha : Infinity, ratioEnd = alphaEnd > 0 ? sigmaEnd / alphaEnd : Infinity;
  const first = Math.min(ratio, NOISE_ONLY), last = Math.min(Math.max(ratioEnd, NO_NOISE), NOISE_ONLY);
  const x0 = denoise(state, alpha, sigma).rows, cos = 1 / Math.hypot(1, first);
  let rows = state.rows.map((x, i) => cos * ((first / sigma) * x + (1 - (first * alpha) / sigma) * x0[i]));
  if (first !== last) rows = solve(denoise, state, rows, Math.log(first), Math.log(last));
  const y = rows.map((w) => Math.hypot(1, last) * w);
  if (ratioEnd === last) return {...state, rows: y.map((a) => alphaEnd * a)};
  const clean = denoise({...state, rows: y}, 1, last).rows;
  return {...state, rows: y.map((a, i) => (sigmaEnd / last) * a + (alphaEnd - sigmaEnd / last) * clean[i])};
}

function solve(denoise, state, start, from, to) {
  const slope = (u, rows) => {
    const tan = Math.exp(u), cos = 1 / Math.hypot(1, tan), answer = denoise({...state, rows}, cos, cos * tan).rows;
    return rows.map((w, i) => cos * cos * w - cos * answer[i]);
  };
  const sign = Math.sign(to - from), n = start.length;
  let w = start, u = from, h = sign * Math.min(1, Math.abs(to - from)), k1 = slope(u, w);
  for (let count = 0; (to - u) * sign > 1e-12 && count < 5000; count++) {
    if ((to - u - h) * sign < 0) h = to - u;
    const k = [k1];
    let next = w;
    for (let s = 1; s < 7; s++) {
      next = Float64Array.from(w);
      for (let j = 0; j < s; j++) {
        const a = h * TABLE[s][j], kj = k[j];
        if (a !== 0) for (let i = 0; i < n; i++) next[i] += a * kj[i];
      }
      k.push(slope(u + NODES[s] * h, next));
    }
    let error = 0;
    for (let i = 0; i < n; i++) {
      let e = 0;
      for (let j = 0; j < 7; j++) e += ERROR[j] * k[j][i];
      error = Math.max(error, Math.abs(h * e) / (TOLERANCE * (1 + Math.max(Math.abs(w[i]), Math.abs(next[i])))));
    }
    if (!(error < Infinity)) {
      throw new Error("The flow leaves the range of numbers; use a guidance scale nearer 1.");
    }
    if (error <= 1) { u += h; w = next; k1 = k[6]; }
    h = sign * Math.min(LARGEST, Math.abs(h) * Math.min(5, Math.max(0.2, 0.9 * Math.max(error, 1e-10) ** -0.2)));
  }
  return w;
}
