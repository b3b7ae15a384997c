// The Gaussians of the symbols: the drawn law and the scored law of each, decomposed when they are first needed.
//
// A covariance is stored as C = D U^T U D, U upper triangular with columns of length 1. With styles, C is that of
// the images of the style, and with C = Q diag(l) Q^T, l falling,
//
//     drawn     Q_r diag(a l_r) Q_r^T,   the r leading directions with the total variance n / (n - 1) tr C
//     scored    S = (1 - k) C + k W,     k = 20 / (n + 20),
//
// with W the covariance within the styles of the prompt, shrunk. A style of very few images is drawn in r
// directions of S (statistics/styles.py). Without styles the drawn law is N(m, C). Variances of scored laws are
// raised to the floor, that of rounding to 256 grey levels.

import {cholesky, fromSpectrum, symmetricEigen} from "../numerics/linalg.js";
import {arrayOf, once} from "./load.js";

export const POOLED = -1;

/** Return the mean (d,), the eigenvalues l (d,) and the eigenvectors Q (d, d) of the drawn law of a symbol. */
export function drawnLaw(model, symbol) {
  return once(model, `drawn ${symbol}`, () => {
    const {d, styles} = model, name = symbol === POOLED ? "pooled" : "laws", at = symbol === POOLED ? 0 : symbol;
    const mean = meanOf(model, name, at);
    if (symbol === POOLED || styles === null) {
      const {values, vectors} = symmetricEigen(covarianceOf(model, name, at), d);
      return {mean, variance: values.map((l) => Math.max(l, 0)), basis: vectors};
    }
    const few = styles.few[symbol], n = styles.images[symbol];
    const {values, vectors} = symmetricEigen(few ? shrunk(model)[symbol] : covarianceOf(model, name, at), d);
    const variance = new Float64Array(d), total = values.reduce((a, b) => a + b, 0);
    let kept = 0;
    for (let i = Math.max(0, d - styles.directions[symbol]); i < d; i++) {
      if (values[i] > 1e-12 * total) { variance[i] = values[i]; kept += values[i]; }
    }
    const scale = kept > 0 ? ((few ? 1 : n / (n - 1)) * total) / kept : 0;
    return {mean, variance: variance.map((l) => scale * l), basis: vectors};
  });
}

/** Return the means (K, d) and the covariances, K matrices (d, d), of the laws by which images are scored. */
export function scoredLaws(model) {
  return once(model, "scored", () => {
    const {d, floor} = model, stored = model.arrays("scored.mean"), name = stored ? "scored" : "laws";
    const mean = arrayOf(model, `${name}.mean`), covariances = model.symbols.map((_, k) => {
      const C = stored || model.styles === null ? covarianceOf(model, name, k) : shrunk(model)[k];
      return raised(C, d, floor);
    });
    return {mean, covariances};
  });
}

/** Return a covariance whose variances are at least the floor. */
function raised(C, d, floor) {
  const rest = Float64Array.from(C);
  for (let i = 0; i < d; i++) rest[i * d + i] -= floor;
  if (cholesky(rest, d) !== null) return C;
  const {values, vectors} = symmetricEigen(C, d);
  return fromSpectrum(vectors, values.map((l) => Math.max(l, floor)), d);
}

/** Return the covariances S of the styles. */
function shrunk(model) {
  return once(model, "shrunk", () => {
    const {styles, symbols} = model, found = symbols.map((_, k) => covarianceOf(model, "laws", k));
    const W = within(model, found);
    found.forEach((C, g) => {
      const k = styles.priorImages / (styles.images[g] + styles.priorImages), own = W[symbols[g].prompt];
      for (let i = 0; i < C.length; i++) C[i] += k * (own[i] - C[i]);
    });
    return found;
  });
}

/** Return the covariance W within the styles of each prompt, shrunk towards that of all prompts. */
function within({d, styles, symbols, prompts}, covariances) {
  const own = prompts.map(() => new Float64Array(d * d)), images = new Float64Array(prompts.length);
  const total = new Float64Array(d * d);
  symbols.forEach(({prompt}, g) => {
    const C = covariances[g], n = styles.images[g];
    images[prompt] += n;
    for (let i = 0; i < C.length; i++) { own[prompt][i] += n * C[i]; total[i] += n * C[i]; }
  });
  const all = images.reduce((a, b) => a + b, 0);
  return own.map((W, u) => {
    const a = styles.shrinkage[u];
    return W.map((x, i) => ((1 - a) * x) / (images[u] || 1) + (a * total[i]) / all);
  });
}

function meanOf(model, name, k) {
  return arrayOf(model, `${name}.mean`).subarray(k * model.d, (k + 1) * model.d);
}

/** Return the covariance (d, d) of a stored root. */
function covarianceOf(model, name, k) {
  const {d} = model, size = (d * (d + 1)) / 2;
  const U = arrayOf(model, `${name}.roots`), spread = arrayOf(model, `${name}.spread`);
  const columns = new Float64Array(d * d); // row j is column j of U D
  for (let i = 0, at = k * size; i < d; i++) for (let j = i; j < d; j++, at++) columns[j * d + i] = U[at];
  for (let j = 0; j < d; j++) {
    let length = 0;
    for (let i = 0; i <= j; i++) length += columns[j * d + i] ** 2;
    const scale = length > 0 ? spread[k * d + j] / Math.sqrt(length) : 0;
    for (let i = 0; i <= j; i++) columns[j * d + i] *= scale;
  }
  const C = new Float64Array(d * d);
  for (let i = 0; i < d; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let p = 0; p <= j; p++) sum += columns[i * d + p] * columns[j * d + p];
      C[i * d + j] = C[j * d + i] = sum;
    }
  }
  return C;
}
