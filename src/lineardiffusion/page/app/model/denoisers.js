// Denoisers: the expected clean latent D(x; alpha, sigma) of x = alpha z + sigma n. With C = Q diag(l) Q^T,
//
//     Gaussian      D = m + Q diag(alpha l / (alpha^2 l + sigma^2)) Q^T (x - alpha m)
//     flow          x' = alpha' m + Q diag(sqrt((alpha'^2 l + sigma'^2) / (alpha^2 l + sigma^2))) Q^T (x - alpha m)
//     regression    D = m(e) + K^T (e' (x) x - alpha V e'), see the library's diffusion/regression.py
//     combination   sum_i w_i D_i, sum_i w_i = 1; guidance has the weights w and 1 - w
//     mixture       the mean of the Gaussians' answers, weighted by w_k N(x; alpha m_k, alpha^2 C_k + sigma^2 I)
//
// A denoiser has `denoise(state, alpha, sigma)` and `flow(state, start, end)`. In the eigenbasis (`coordinates`) a
// Gaussian's is diagonal. A mixture's is not affine, so it takes latents only.

import {dotAt, fromSpectrum, multiply, multiplyTransposed, transpose} from "../numerics/linalg.js";
import {arrayOf, once} from "./load.js";
import {drawnLaw, POOLED} from "./gaussians.js";
import {integrate} from "./flow.js";

/** Return the denoiser of a symbol, or of POOLED. */
export function symbolDenoiser(model, symbol) {
  const regression = symbol !== POOLED && model.arrays("regression.mean") !== null;
  const make = regression ? regressionDenoiser : gaussianDenoiser;
  return once(model, `denoiser ${symbol}`, () => make(model, symbol));
}

/** Return the denoiser of a symbol with guidance. */
export function guidedDenoiser(model, symbol, guidanceScale) {
  const own = symbolDenoiser(model, symbol);
  if (guidanceScale === 1) return own;
  return combination([own, symbolDenoiser(model, POOLED)], [guidanceScale, 1 - guidanceScale]);
}

/** Return the denoiser of the Gaussian {mean (d,), variance (d,), basis (d, d)} of a symbol. */
function gaussianDenoiser(model, symbol) {
  const law = drawnLaw(model, symbol), {mean, variance, basis} = law, d = mean.length;
  const scale = (state, gain, alpha, alphaEnd) => {
    if (4 * state.ones.length < d) return aboutMean(state, law, gain, alpha, alphaEnd);
    const A = fromSpectrum(basis, gain, d);
    return applyAffine(state, A, constantOf(mean, A, alpha, alphaEnd));
  };
  return {
    law, ...diagonalRule(variance, scale),
    coordinates: () => coordinatesOf(law),
    affine: (alpha, sigma) => { // x A + c
      const A = fromSpectrum(basis, cleanGain(variance, alpha, sigma), d);
      return {A, c: constantOf(mean, A, alpha, 1)};
    },
  };
}

/** Return alphaEnd m - alpha m A. */
function constantOf(mean, A, alpha, alphaEnd) {
  const d = mean.length, c = multiply(mean, A, 1, d, d);
  for (let i = 0; i < d; i++) c[i] = alphaEnd * mean[i] - alpha * c[i];
  return c;
}

/** Return alpha l / (alpha^2 l + sigma^2). */
function cleanGain(variance, alpha, sigma) {
  const gain = new Float64Array(variance.length);
  for (let i = 0; i < gain.length; i++) {
    gain[i] = (alpha * variance[i]) / (alpha * alpha * variance[i] + sigma * sigma);
  }
  return gain;
}

/** Return alphaEnd m + Q diag(gain) Q^T (x - alpha m) of few rows, without the matrix. */
function aboutMean(state, {mean, basis}, gain, alpha, alphaEnd) {
  const {rows, ones, dim} = state, n = ones.length, centred = rows.slice();
  for (let i = 0, k = 0; i < n; i++) for (let j = 0; j < dim; j++, k++) centred[k] -= ones[i] * alpha * mean[j];
  const u = multiply(centred, basis, n, dim, dim);
  for (let i = 0, k = 0; i < n; i++) for (let j = 0; j < dim; j++, k++) u[k] *= gain[j];
  const out = multiplyTransposed(u, basis, n, dim, dim);
  for (let i = 0, k = 0; i < n; i++) for (let j = 0; j < dim; j++, k++) out[k] += ones[i] * alphaEnd * mean[j];
  return {...state, rows: out};
}

/** Return the denoiser of a Gaussian in its eigenbasis, where it is diagonal. */
function coordinatesOf({mean, variance, basis}) {
  const d = mean.length, own = multiply(mean, basis, 1, d, d);
  return diagonalRule(variance, (state, gain, alpha, alphaEnd) => {
    const {rows, ones} = state, out = new Float64Array(rows.length);
    for (let i = 0; i < ones.length; i++) {
      for (let j = 0, k = i * d; j < d; j++, k++) {
        out[k] = rows[k] * gain[j] + ones[i] * (alphaEnd - alpha * gain[j]) * own[j];
      }
    }
    return {...state, rows: out};
  });
}

/** Return `denoise` and `flow` from the function (state, gain, alpha, alphaEnd) that scales about the mean. */
function diagonalRule(variance, scale) {
  return {
    denoise: (state, alpha, sigma) => scale(state, cleanGain(variance, alpha, sigma), alpha, 1),
    flow: (state, [alpha, sigma], [alphaEnd, sigmaEnd]) => {
      const total = (l, a, s) => a * a * l + s * s;
      const gain = variance.map((l) => Math.sqrt(total(l, alphaEnd, sigmaEnd) / total(l, alpha, sigma)));
      return scale(state, gain, alpha, alphaEnd);
    },
  };
}

/** Return x A + c of a state. */
function applyAffine(state, A, c) {
  const {rows, ones, dim} = state, out = multiply(rows, A, ones.length, dim, dim);
  for (let i = 0; i < ones.length; i++) if (ones[i]) for (let j = 0; j < dim; j++) out[i * dim + j] += c[j];
  return {...state, rows: out};
}

/** Return the denoiser of a regression for the embedding of a symbol. */
function regressionDenoiser(model, symbol) {
  const {d} = model, read = (name) => arrayOf(model, `regression.${name}`);
  const variance = read("variance"), n = variance.length, r = n / d;
  const left = read("left"), e = read("embeddings").subarray(symbol * r, (symbol + 1) * r);
  // Q^T (h (x) I)
  const right = once(model, "regression right", () => {
    return transpose(multiply(read("constant"), left, 1, r, d * n), d, n);
  });
  const inner = multiply(e, left, 1, r, d * n); // (e' (x) I)^T Q, (d, n)
  const centre = multiply(multiplyTransposed(e, read("cross"), 1, r, n), left, 1, n, n);
  const clean = multiply(e, read("mean"), 1, r, d);
  const affine = (alpha, sigma) => {
    const gain = cleanGain(variance, alpha, sigma), scaled = right.slice();
    for (let q = 0, k = 0; q < n; q++) for (let a = 0; a < d; a++, k++) scaled[k] *= gain[q];
    const c = multiply(centre, scaled, 1, n, d);
    for (let a = 0; a < d; a++) c[a] = clean[a] - alpha * c[a];
    return {A: multiply(inner, scaled, d, n, d), c};
  };
  const denoise = (state, alpha, sigma) => {
    const {A, c} = affine(alpha, sigma);
    return applyAffine(state, A, c);
  };
  return {denoise, affine, flow: (state, start, end) => integrate(denoise, state, start, end)};
}

/** Return the weighted sum of affine denoisers. */
function combination(parts, weights) {
  const denoise = (state, alpha, sigma) => {
    if (4 * state.ones.length < state.dim) { // few rows: without the matrices
      const rows = new Float64Array(state.rows.length);
      parts.forEach((part, k) => {
        const answer = part.denoise(state, alpha, sigma).rows;
        for (let i = 0; i < rows.length; i++) rows[i] += weights[k] * answer[i];
      });
      return {...state, rows};
    }
    const A = new Float64Array(state.dim * state.dim), c = new Float64Array(state.dim);
    parts.forEach((part, k) => {
      const own = part.affine(alpha, sigma);
      for (let i = 0; i < A.length; i++) A[i] += weights[k] * own.A[i];
      for (let i = 0; i < c.length; i++) c[i] += weights[k] * own.c[i];
    });
    return applyAffine(state, A, c);
  };
  return {denoise, flow: (state, start, end) => integrate(denoise, state, start, end)};
}

/**
 * Return the denoiser of a mixture of Gaussians {mean, variance, basis}, with `answer(x, alpha, sigma)` for one
 * point and `shares(x, alpha, sigma)`, the probabilities of the Gaussians.
 */
export function mixtureDenoiser(laws, weights) {
  const d = laws[0].mean.length, log = new Float64Array(laws.length), u = new Float64Array(laws.length * d);
  const parts = laws.map(({mean, variance, basis}, k) => ({
    mean, variance, basis,
    rows: transpose(basis, d, d),
    own: multiply(mean, basis, 1, d, d),
    logWeight: Math.log(weights[k]),
  }));
  const shares = (x, alpha, sigma) => {
    parts.forEach(({variance, rows, own, logWeight}, k) => {
      let sum = 0;
      for (let i = 0, p = k * d; i < d; i++, p++) {
        const total = alpha * alpha * variance[i] + sigma * sigma;
        u[p] = dotAt(rows, i * d, x, 0, d) - alpha * own[i];
        sum += (u[p] * u[p]) / total + Math.log(total);
      }
      log[k] = logWeight - 0.5 * sum;
    });
    return softmax(log);
  };
  const answer = (x, alpha, sigma) => {
    const share = shares(x, alpha, sigma), out = new Float64Array(d), step = new Float64Array(d);
    parts.forEach(({mean, variance, basis}, k) => {
      if (share[k] < 1e-14) return;
      const gain = cleanGain(variance, alpha, sigma);
      for (let i = 0; i < d; i++) step[i] = u[k * d + i] * gain[i];
      for (let i = 0; i < d; i++) out[i] += share[k] * (mean[i] + dotAt(basis, i * d, step, 0, d));
    });
    return out;
  };
  const denoise = (state, alpha, sigma) => {
    const rows = new Float64Array(state.rows.length);
    for (let i = 0; i < rows.length; i += d) rows.set(answer(state.rows.subarray(i, i + d), alpha, sigma), i);
    return {...state, rows};
  };
  return {shares, answer, denoise, flow: (state, start, end) => integrate(denoise, state, start, end)};
}

/** Return exp(log) divided by its sum, as a Float64Array. */
function softmax(log) {
  const out = new Float64Array(log.length);
  let most = -Infinity, sum = 0;
  for (let i = 0; i < log.length; i++) most = Math.max(most, log[i]);
  for (let i = 0; i < log.length; i++) sum += out[i] = Math.exp(log[i] - most);
  for (let i = 0; i < log.length; i++) out[i] /= sum;
  return out;
}
