// Points of the plane under a mixture of Gaussians, {weights: (k,), means: (k, 2), covariances: (k, 2, 2)}: the
// denoiser, the score of the noisy law, and the paths of points under a sampler.
//
//     score    s(x) = (alpha D(x) - x) / sigma^2,   the gradient of the log-density of
//              sum_k w_k N(alpha m_k, alpha^2 C_k + sigma^2 I)

import {symmetricEigen} from "../numerics/linalg.js";
import {mixtureDenoiser} from "./denoisers.js";
import {courseOf, run} from "./samplers.js";
import {latentsOf, latentState, noiseAdder} from "./states.js";

const denoisers = new WeakMap();

/** Return the denoiser of a mixture, built once. */
function planeDenoiser(mixture) {
  if (!denoisers.has(mixture)) {
    const laws = mixture.means.map((mean, k) => {
      const {values, vectors} = symmetricEigen(Float64Array.from(mixture.covariances[k].flat()), mean.length);
      return {mean: Float64Array.from(mean), variance: values.map((l) => Math.max(l, 0)), basis: vectors};
    });
    denoisers.set(mixture, mixtureDenoiser(laws, mixture.weights));
  }
  return denoisers.get(mixture);
}

/** Return the score of the noisy law at x. */
export function score(mixture, x, alpha, sigma) {
  const clean = planeDenoiser(mixture).answer(Float64Array.from(x), alpha, sigma);
  return clean.map((z, i) => (alpha * z - x[i]) / (sigma * sigma));
}

/**
 * Return the points at every time of a sampler, from the scaled starting noise `points` (n, 2) on; a state a step.
 * `noise()` returns a normal number.
 */
export function pathsOf(mixture, points, sampler, numSteps, {scheduleName = "cosine", noise = null} = {}) {
  const {schedule, times} = courseOf(sampler, scheduleName, numSteps), sigma = schedule.at(times[0])[1];
  const denoiser = planeDenoiser(mixture), addNoise = noise && noiseAdder(noise);
  const start = latentState(points.map((point) => Float64Array.from(point, (x) => sigma * x)));
  return [start, ...run(sampler, denoiser, start, schedule, times, addNoise)].map(latentsOf);
}
