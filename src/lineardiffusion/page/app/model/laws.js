// The law of a sampler, and its 2-Wasserstein distance to the law of the exact one without guidance.
//
// With x = z M + b + n R the law is N(b, F^T F), F = [M; R]. Two laws with roots F and G have the distance
//
//     W^2 = |b - b'|^2 + |F|^2 + |G|^2 - 2 sum_i s_i,      s the singular values of F G^T
//
// which for laws of one eigenbasis is the sum of the squared differences of means and standard deviations.

import {multiplyTransposed, singularValues, transpose} from "../numerics/linalg.js";
import {composed} from "./sampling.js";
import {symbolDenoiser} from "./denoisers.js";
import {partsOf} from "./states.js";

/** Return the mean and a root F (rows, d) of the law of a sampler. */
function rootOf(model, given) {
  const {d} = model, map = composed(model, given), {matrix, root, offset} = partsOf(map);
  if (!map.diagonal) {
    return {mean: offset, root: map.rows.subarray(0, map.rows.length - d), rows: map.ones.length - 1};
  }
  const {basis} = symbolDenoiser(model, given.symbol).law, deviation = deviations(matrix, root);
  const F = transpose(basis, d, d);
  for (let i = 0; i < d; i++) for (let j = 0; j < d; j++) F[i * d + j] *= deviation[i];
  return {mean: multiplyTransposed(offset, basis, 1, d, d), root: F, rows: d};
}

function deviations(gain, root) {
  return gain.map((g, i) => (root ? Math.sqrt(g * g + root[i] * root[i]) : Math.abs(g)));
}

/** Return the distance of a sampler's law to that of the exact one without guidance, in units of the latents. */
export function wasserstein(model, given) {
  const {d} = model, plain = {symbol: given.symbol, sampler: "exact", guidanceScale: 1};
  const own = composed(model, given), exact = composed(model, plain);
  if (own.diagonal && exact.diagonal) {
    const a = partsOf(own), b = partsOf(exact), s = deviations(a.matrix, a.root), t = deviations(b.matrix, b.root);
    let sum = 0;
    for (let i = 0; i < d; i++) sum += (a.offset[i] - b.offset[i]) ** 2 + (s[i] - t[i]) ** 2;
    return Math.sqrt(sum);
  }
  const F = rootOf(model, given), G = rootOf(model, plain);
  const square = (x) => x.reduce((sum, y) => sum + y * y, 0), step = F.mean.map((b, i) => b - G.mean[i]);
  // the columns of F G^T as rows, of which there are fewer
  const overlap = singularValues(multiplyTransposed(G.root, F.root, G.rows, d, F.rows), G.rows, F.rows);
  const spread = square(F.root) + square(G.root) - 2 * overlap.reduce((a, b) => a + b, 0);
  return Math.sqrt(square(step) + Math.max(spread, 0));
}
