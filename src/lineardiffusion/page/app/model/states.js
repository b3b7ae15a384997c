// States of a sampler: latents, or an affine map from starting noise z and sampler noise n to latents,
//
//     x = z M + b + n R,        rows = [M; R; b]
//
// An affine denoiser x A + c acts on all rows alike, but its constant c belongs to the rows of latents and to b
// only: those whose entry of `ones` is 1. So one sampler runs on both.
//
/** @typedef {{rows: Float64Array, ones: Float64Array, dim: number, noises: number, diagonal: boolean}} State */

import {cholesky, multiply, transpose} from "../numerics/linalg.js";

/** Return the state of latents, an array of Float64Array (d,). */
export function latentState(latents) {
  const n = latents.length, dim = n ? latents[0].length : 0, rows = new Float64Array(n * dim);
  latents.forEach((z, i) => rows.set(z, i * dim));
  return {rows, ones: new Float64Array(n).fill(1), dim, noises: 0, diagonal: false};
}

/** Return the latents of a state of them. */
export function latentsOf(state) {
  return Array.from(state.ones, (_, i) => state.rows.slice(i * state.dim, (i + 1) * state.dim));
}

/** Return the map x = size z in d coordinates; a diagonal one has one row in place of a matrix. */
export function identityMap(dim, size, diagonal) {
  const m = diagonal ? 1 : dim, rows = new Float64Array((m + 1) * dim), ones = new Float64Array(m + 1);
  for (let i = 0; i < dim; i++) rows[diagonal ? i : i * dim + i] = size;
  ones[m] = 1;
  return {rows, ones, dim, noises: 0, diagonal};
}

/** Return a x + b y. */
export function combine(a, x, b, y) {
  const rows = new Float64Array(x.rows.length), p = x.rows, q = y.rows;
  for (let i = 0; i < rows.length; i++) rows[i] = a * p[i] + b * q[i];
  return {rows, ones: x.ones, dim: x.dim, noises: x.noises, diagonal: x.diagonal};
}

/** Return the parts of a map: M (m, d), R (m, d) or null, and b (d,), with m = 1 where it is diagonal. */
export function partsOf(map) {
  const {rows, dim, diagonal, noises} = map, size = (diagonal ? 1 : dim) * dim;
  return {
    matrix: rows.subarray(0, size),
    root: noises ? rows.subarray(size, 2 * size) : null,
    offset: rows.subarray(rows.length - dim),
  };
}

/** Return the map x + tau n with fresh noise n: R^T R grows by tau^2 I. */
export function withNoise(map, tau) {
  const {dim, diagonal} = map, {matrix, root, offset} = partsOf(map), m = diagonal ? 1 : dim;
  let grown = root ? Float64Array.from(root) : new Float64Array(m * dim);
  if (diagonal) {
    for (let i = 0; i < dim; i++) grown[i] = Math.sqrt(grown[i] * grown[i] + tau * tau);
  } else {
    const covariance = multiply(transpose(grown, dim, dim), grown, dim, dim, dim);
    for (let i = 0; i < dim; i++) covariance[i * dim + i] += tau * tau;
    grown = transpose(cholesky(covariance, dim), dim, dim);
  }
  const rows = new Float64Array((2 * m + 1) * dim), ones = new Float64Array(2 * m + 1);
  rows.set(matrix, 0);
  rows.set(grown, m * dim);
  rows.set(offset, 2 * m * dim);
  ones[2 * m] = 1;
  return {rows, ones, dim, diagonal, noises: map.noises + 1};
}

/** Return the function that adds noise to latents, from a function that returns normal numbers. */
export function noiseAdder(normal) {
  return (state, tau) => ({...state, rows: state.rows.map((x) => x + tau * normal())});
}
