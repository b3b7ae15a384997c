// The posterior of an image of which some pixels are seen, without noise: the laws of all symbols, by Bayes' rule.
//
// In units of the latents an image is xi = V^T z + q, q ~ N(0, v (I - V^T V)), v the variance of a discarded
// direction. With V_s the columns of the seen pixels, V_s V_s^T = W diag(c^2) W^T, where c^2 is the squared cosine
// between the latents and the seen pixels, and r = W^T V_s xi_s, what the pixels tell of the latent z ~ N(m, C) is
//
//     x = H^T z + n,    n ~ N(0, N),    so that x ~ N(H^T m, A),    A = H^T C H + N
//
// in one of two forms. The first has H = W c / sqrt(v), N = 1 - c^2, x = r / (c sqrt(v)), for the directions that
// are seen at all. The second has H = I, N = W diag(v / c^2 - v) W^T, x = W r / c^2, where c^2 is not too small. It
// costs one Cholesky factor a law and no product with H. With A = L L^T and h = L^-1 (x - H^T m),
//
//     log p(y) = -1/2 (log det A + |h|^2) + the same for all laws
//     mean     V^T (m + (C - v I) H A^-1 (x - H^T m))
//     draw     z = z' + C H A^-1 (x - x'),  z' ~ N(m, C), x' = H^T z' + n'   (Matheron's rule; Doucet 2010)
//
// and given z and the seen pixels the hidden ones have the mean V^T (z - W (r - c^2 W^T z) / (1 - c^2)), with 0 in
// place of the second term where c^2 = 1. The seen pixels stay as they are. One temperature T of the likelihood of
// the prompts makes p(u) p(y | u)^(1/T) of them (the library's inference.py). inverse/posterior.py has the proofs.

import {
  cholesky, dotAt, fromSpectrum, multiply, multiplyTransposed, solveLower, solveUpper, symmetricEigen, transpose,
} from "../numerics/linalg.js";
import {once} from "./load.js";
import {scoredLaws} from "./gaussians.js";
import {finishPosterior} from "./encoder.js";

const UNSEEN = 1e-12; // squared cosine below which a direction of the latents is not seen
const ALIGNED = 1e-8; // 1 - c^2 below which it is rounding
const NOISE = 1e8; // largest variance of N in the second form, in units of the least variance of the laws
const NEGLIGIBLE = 1e-12; // share of a law that counts as 0

/** Posterior of images of one mask; `seen` (D,) is 1 where a pixel is seen. */
export class Posterior {
  constructor(model, seen) {
    const {d, D, components, residual: v} = model, laws = scoredLaws(model);
    this.model = model;
    this.seen = Uint8Array.from(seen);
    this.shown = Int32Array.from(Array.from(this.seen.keys()).filter((j) => this.seen[j]));
    this.hidden = Int32Array.from(Array.from(this.seen.keys()).filter((j) => !this.seen[j]));
    const columns = (pixels) => {
      const n = pixels.length, out = new Float64Array(d * n);
      for (let i = 0; i < d; i++) for (let j = 0; j < n; j++) out[i * n + j] = components[i * D + pixels[j]];
      return out;
    };
    this.shownColumns = columns(this.shown);
    this.hiddenColumns = columns(this.hidden);
    const {cosines, W} = planes(this.shownColumns, this.shown.length, this.hidden.length, d);
    this.cosines = cosines;
    this.W = W;
    this.symbols = possible(model);
    const least = cosines.reduce((a, b) => Math.min(a, b), 1);
    this.direct = least > UNSEEN && v / least - v <= NOISE * leastVariance(model);
    this.kept = Int32Array.from(Array.from(cosines.keys()).filter((i) => this.direct || cosines[i] > UNSEEN));
    this.p = this.kept.length;
    this.noise = Float64Array.from(this.kept, (i) => (this.direct ? v / cosines[i] - v : 1 - cosines[i]));
    this.spread = this.direct ? fromSpectrum(W, this.noise, d) : null;
    this.H = this.direct ? null : this.operator();
    this.transposed = this.direct ? null : transpose(this.H, d, this.p);
    this.laws = this.symbols.map((k) => this.measured(laws, k));
  }

  /** Return H (d, p) of the first form. */
  operator() {
    const {cosines, W, kept, p, model} = this, {d, residual} = model, H = new Float64Array(d * p);
    kept.forEach((j, k) => {
      const f = Math.sqrt(cosines[j] / residual);
      for (let i = 0; i < d; i++) H[i * p + k] = f * W[i * d + j];
    });
    return H;
  }

  /** Return H^T m, the Cholesky factor L of A, and its log-determinant, of the law of a symbol. */
  measured(laws, k) {
    const {model, p, noise} = this, {d} = model, C = laws.covariances[k];
    const m = laws.mean.subarray(k * d, (k + 1) * d);
    let A, centre;
    if (this.direct) {
      A = Float64Array.from(C);
      for (let i = 0; i < A.length; i++) A[i] += this.spread[i];
      centre = m;
    } else {
      // with C = U^T U and B = U H, of which B^T is stored, A = B^T B + N
      const B = new Float64Array(p * d), U = scoredRoot(model, k);
      for (let i = 0; i < p; i++) {
        for (let j = 0; j < d; j++) B[i * d + j] = dotAt(this.transposed, i * d + j, U, j * d + j, d - j);
      }
      A = new Float64Array(p * p);
      for (let i = 0; i < p; i++) {
        for (let j = 0; j <= i; j++) A[i * p + j] = A[j * p + i] = dotAt(B, i * d, B, j * d, d);
        A[i * p + i] += noise[i];
      }
      centre = multiply(m, this.H, 1, d, p);
    }
    const L = cholesky(A, p);
    if (L === null) throw new Error("The model's variances are too small for this mask.");
    let logDet = 0;
    for (let i = 0; i < p; i++) logDet += 2 * Math.log(L[i * p + i]);
    return {symbol: k, mean: m, covariance: C, centre, L, logDet, logPrior: Math.log(model.symbols[k].weight)};
  }

  /** Take the seen pixels of an image (D,); return the probabilities of the prompts, and the shares of the laws. */
  observe(image) {
    const {model, shown, shownColumns, cosines, kept, W, p} = this, {d, mean, scale, residual: v} = model;
    const s = shown.length, xi = new Float64Array(s), seen = new Float64Array(d);
    for (let j = 0; j < s; j++) xi[j] = (image[shown[j]] - mean[shown[j]]) / scale[shown[j]];
    for (let i = 0; i < d; i++) seen[i] = dotAt(shownColumns, i * s, xi, 0, s);
    const r = multiply(seen, W, 1, d, d);
    this.image = new Float64Array(image);
    this.r = r;
    const x = new Float64Array(p);
    for (let j = 0; j < p; j++) {
      const square = cosines[kept[j]];
      x[j] = r[kept[j]] / (this.direct ? square : Math.sqrt(v * square));
    }
    this.x = this.direct ? multiplyTransposed(x, W, 1, d, d) : x;
    const step = new Float64Array(p), log = new Float64Array(this.laws.length);
    this.laws.forEach(({centre, L, logDet, logPrior}, i) => {
      for (let j = 0; j < p; j++) step[j] = this.x[j] - centre[j];
      solveLower(L, step, p);
      log[i] = logPrior - 0.5 * (logDet + dotAt(step, 0, step, 0, p));
    });
    return this.weigh(log);
  }

  /** Return the probabilities of the prompts from joint log-densities of the laws; keep the shares of the laws. */
  weigh(log) {
    const {model, laws} = this, {prompts, symbols, temperature} = model;
    const of = laws.map((law) => symbols[law.symbol].prompt), n = prompts.length;
    if (temperature !== 1 && n > 1) {
      const joint = logSums(log, of, n), prior = logSums(laws.map((law) => law.logPrior), of, n);
      for (let i = 0; i < log.length; i++) log[i] += (1 / temperature - 1) * (joint[of[i]] - prior[of[i]]);
    }
    const most = log.reduce((a, b) => Math.max(a, b), -Infinity), probabilities = new Float64Array(n);
    const shares = log.map((x) => Math.exp(x - most)), total = shares.reduce((a, b) => a + b, 0);
    for (let i = 0; i < shares.length; i++) { shares[i] /= total; probabilities[of[i]] += shares[i]; }
    this.shares = shares;
    return {probabilities, shares, symbols: this.symbols};
  }

  /** Return the posterior mean image (D,) of what was observed, without contrast. */
  mean() {
    const {model, laws, shares, p} = this, {d, residual: v} = model, latent = new Float64Array(d);
    laws.forEach((law, i) => {
      if (shares[i] < NEGLIGIBLE) return;
      const step = this.x.map((a, j) => a - law.centre[j]), y = this.lifted(solved(law.L, step, p));
      const more = multiplyTransposed(y, law.covariance, 1, d, d);
      for (let j = 0; j < d; j++) latent[j] += shares[i] * (law.mean[j] + more[j] - v * y[j]);
    });
    return this.completed(latent);
  }

  /**
   * Draw an image (D,) from the posterior of what was observed: its latent exactly, with the conditional mean of
   * what the encoder discards, and with contrast in the hidden pixels. `uniform()` and `normal()` return random
   * numbers.
   */
  draw(uniform, normal) {
    const {model, shares, laws, p, noise, W, cosines, r} = this, {d} = model;
    let i = 0;
    for (let rest = uniform() - shares[0]; rest >= 0 && i < laws.length - 1; rest -= shares[i]) i++;
    const law = laws[i], z = this.prior(law, normal);
    const fresh = noise.map((variance) => Math.sqrt(Math.max(variance, 0)) * normal());
    const simulated = this.direct ? multiplyTransposed(fresh, W, 1, d, d) : fresh;
    const measured = this.direct ? z : multiply(z, this.H, 1, d, p);
    const step = this.x.map((a, j) => a - measured[j] - simulated[j]);
    const more = multiplyTransposed(this.lifted(solved(law.L, step, p)), law.covariance, 1, d, d);
    for (let j = 0; j < d; j++) z[j] += more[j];
    const u = multiply(z, W, 1, d, d);
    for (let j = 0; j < d; j++) u[j] = 1 - cosines[j] > ALIGNED ? (r[j] - cosines[j] * u[j]) / (1 - cosines[j]) : 0;
    const rest = multiplyTransposed(u, W, 1, d, d);
    for (let j = 0; j < d; j++) z[j] -= rest[j];
    const picture = finishPosterior(model, this.completed(z), law.symbol);
    for (const j of this.shown) picture[j] = this.image[j];
    return {image: picture, symbol: law.symbol, prompt: model.symbols[law.symbol].prompt};
  }

  /** Draw a latent (d,) from the law of a symbol. */
  prior(law, normal) {
    const {d} = this.model, z = multiply(law.mean.map(() => normal()), scoredRoot(this.model, law.symbol), 1, d, d);
    return z.map((x, j) => x + law.mean[j]);
  }

  /** Return H y (d,). */
  lifted(y) {
    return this.direct ? y : multiply(y, this.transposed, 1, this.p, this.model.d);
  }

  /** Return the image (D,) with the hidden pixels of V^T latent, and the seen ones as they are. */
  completed(latent) {
    const {model, hidden, hiddenColumns} = this, {d, mean, scale} = model, h = hidden.length;
    const out = this.image.slice(), xi = new Float64Array(h);
    for (let i = 0, k = 0; i < d; i++) {
      const a = latent[i];
      for (let j = 0; j < h; j++, k++) xi[j] += a * hiddenColumns[k];
    }
    for (let j = 0; j < h; j++) out[hidden[j]] = mean[hidden[j]] + scale[hidden[j]] * xi[j];
    return out;
  }
}

/** Return the squared cosines c^2 (d,) and W (d, d); if all or nothing is seen they are 1 or 0, and W = I. */
function planes(shown, s, h, d) {
  if (s === 0 || h === 0) return {cosines: new Float64Array(d).fill(s === 0 ? 0 : 1), W: identity(d)};
  const G = new Float64Array(d * d);
  for (let i = 0; i < d; i++) {
    for (let j = 0; j <= i; j++) G[i * d + j] = G[j * d + i] = dotAt(shown, i * s, shown, j * s, s);
  }
  const {values, vectors} = symmetricEigen(G, d);
  return {cosines: values.map((x) => Math.min(Math.max(x, 0), 1)), W: vectors};
}

function identity(d) {
  const I = new Float64Array(d * d);
  for (let i = 0; i < d; i++) I[i * d + i] = 1;
  return I;
}

/** Return the symbols that images may come from. */
function possible(model) {
  return Array.from(model.symbols.keys()).filter((k) => model.symbols[k].weight > 0);
}

/** Return the root U of the covariance U^T U of a scored law, upper triangular. */
function scoredRoot(model, symbol) {
  const {d} = model;
  return once(model, `root ${symbol}`, () => {
    return transpose(cholesky(scoredLaws(model).covariances[symbol], d, true), d, d);
  });
}

/** Return a lower bound of the least variance of the laws, 1 / tr C^-1. */
function leastVariance(model) {
  return once(model, "least variance", () => {
    const {d} = model;
    let most = 0;
    for (const k of possible(model)) {
      const U = scoredRoot(model, k), column = new Float64Array(d);
      let trace = 0;
      for (let j = 0; j < d; j++) { // column j of U^-1
        column[j] = 1 / U[j * d + j];
        for (let i = j - 1; i >= 0; i--) column[i] = -dotAt(U, i * d + i + 1, column, i + 1, j - i) / U[i * d + i];
        trace += dotAt(column, 0, column, 0, j + 1);
      }
      if (!(trace < Infinity)) return 0; // a direction has no variance
      most = Math.max(most, trace);
    }
    return 1 / most;
  });
}

/** Return A^-1 b of A = L L^T; `b` is overwritten. */
function solved(L, b, p) {
  return solveUpper(L, solveLower(L, b, p), p);
}

/** Return the logarithm of the sum of exp(log) in each of n groups. */
function logSums(log, groups, n) {
  const most = new Float64Array(n).fill(-Infinity), sum = new Float64Array(n);
  for (let i = 0; i < log.length; i++) most[groups[i]] = Math.max(most[groups[i]], log[i]);
  for (let i = 0; i < log.length; i++) sum[groups[i]] += Math.exp(log[i] - most[groups[i]]);
  return sum.map((x, u) => most[u] + Math.log(x));
}
