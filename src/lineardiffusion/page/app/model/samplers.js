// Samplers, from noise to latents. Each is a generator of the states at the times after the first. With
// x = alpha z + sigma n, the denoiser gives x0 = D(x), and eps = (x - alpha x0) / sigma. Primes mark the next
// level.
//
//     ddim        x' = alpha' x0 + sqrt(sigma'^2 - tau^2) eps + tau n,   tau = 0      (Song 2021, eq. 12)
//     ddpm        the same with tau = sigma' sqrt(1 - (alpha sigma' / (alpha' sigma))^2)   (Ho 2020, alg. 2)
//     euler       x' = x + (t' - t) v,   v = (d alpha/dt) x0 + (d sigma/dt) eps
//     heun        the mean of v at both ends                                          (Karras 2022, alg. 1)
//     rk4         the mean of v at both ends and, twice, in the middle                (Hairer 1993, II.1)
//     dpm++2m     x0 extrapolated from this step and the last, in log-SNR             (Lu 2022, alg. 2)
//     em          x' = x + (t' - t) (f x - g^2 s) + g sqrt(t - t') n                  (Song 2021b, eq. 6)
//     ei          y' = c y + 2 (c - 1) s_y + sqrt(c^2 - 1) n,   y = x / r             (Pierret 2025)
//     exact       the solution of the probability-flow ODE, whatever the number of steps
//     one_step    one ddim step from (alpha, sigma) = (1, 1) to (1, 0)
//
// with f = (d alpha/dt) / alpha, g^2 = 2 sigma (d sigma/dt) - 2 f sigma^2, and the score
// s = (alpha x0 - x) / sigma^2. The step of em and ei out of pure noise is ddpm's. The library's module
// diffusion/samplers.py has the references.

import {combine} from "./states.js";
import {schedule} from "./schedules.js";

export const SAMPLERS = ["exact", "ddim", "ddpm", "euler", "heun", "rk4", "dpm++2m", "em", "ei", "one_step"];

/** Whether a sampler adds noise. */
export function isStochastic(name) {
  return name === "ddpm" || name === "em" || name === "ei";
}

/** Return the schedule of a description, or the sampler's own, and the falling times that the sampler visits. */
export function courseOf(name, description, numSteps) {
  const own = schedule(name === "one_step" ? {name: "karras", sigma_max: 1} : description);
  return {schedule: own, times: own.times(name === "one_step" ? 1 : numSteps)};
}

/** Yield the states of a sampler at the times after the first. */
export function* run(name, denoiser, state, schedule, times, addNoise) {
  const steps = {exact, ddim, ddpm, euler, heun, rk4, "dpm++2m": dpmpp2m, em, ei, one_step: ddim}[name];
  if (!steps) throw new Error(`unknown sampler ${name}`);
  yield* steps(denoiser, state, schedule, times, addNoise);
}

function* levelsOf(schedule, times) {
  for (let i = 0; i + 1 < times.length; i++) yield [...schedule.at(times[i]), ...schedule.at(times[i + 1])];
}

function* intervals(times) {
  for (let i = 0; i + 1 < times.length; i++) yield [times[i], times[i + 1]];
}

function* exact(denoiser, x, schedule, times) {
  for (const [alpha, sigma, alpha_, sigma_] of levelsOf(schedule, times)) {
    x = denoiser.flow(x, [alpha, sigma], [alpha_, sigma_]);
    yield x;
  }
}

function* ddim(denoiser, x, schedule, times) {
  yield* implicit(denoiser, x, schedule, times, 0, null);
}

function* ddpm(denoiser, x, schedule, times, addNoise) {
  yield* implicit(denoiser, x, schedule, times, 1, addNoise);
}

function* implicit(denoiser, x, schedule, times, eta, addNoise) {
  for (const [alpha, sigma, alpha_, sigma_] of levelsOf(schedule, times)) {
    const x0 = denoiser.denoise(x, alpha, sigma);
    const kept = ((alpha * sigma_) / (alpha_ * sigma)) ** 2;
    const tau = eta * sigma_ * Math.sqrt(Math.max(1 - kept, 0));
    const direction = Math.sqrt(sigma_ ** 2 - tau ** 2) / sigma;
    x = combine(direction, x, alpha_ - direction * alpha, x0);
    if (tau > 0) x = addNoise(x, tau);
    yield x;
  }
}

/** Return dx/dt of the probability flow. */
function velocity(denoiser, x, schedule, t) {
  const [alpha, sigma] = schedule.at(t), [alphaDot, sigmaDot] = schedule.derivative(t);
  return combine(sigmaDot / sigma, x, alphaDot - (sigmaDot * alpha) / sigma, denoiser.denoise(x, alpha, sigma));
}

function* euler(denoiser, x, schedule, times) {
  for (const [t, t_] of intervals(times)) {
    x = combine(1, x, t_ - t, velocity(denoiser, x, schedule, t));
    yield x;
  }
}

function* heun(denoiser, x, schedule, times) {
  for (const [t, t_] of intervals(times)) {
    let v = velocity(denoiser, x, schedule, t);
    if (schedule.at(t_)[1] > 0) {
      v = combine(0.5, v, 0.5, velocity(denoiser, combine(1, x, t_ - t, v), schedule, t_));
    }
    x = combine(1, x, t_ - t, v);
    yield x;
  }
}

function* rk4(denoiser, x, schedule, times) {
  for (const [t, t_] of intervals(times)) {
    const h = t_ - t, v1 = velocity(denoiser, x, schedule, t);
    if (schedule.at(t_)[1] > 0) {
      const v2 = velocity(denoiser, combine(1, x, 0.5 * h, v1), schedule, t + 0.5 * h);
      const v3 = velocity(denoiser, combine(1, x, 0.5 * h, v2), schedule, t + 0.5 * h);
      const v4 = velocity(denoiser, combine(1, x, h, v3), schedule, t_);
      x = combine(1, x, h / 6, combine(1, combine(1, v1, 1, v4), 2, combine(1, v2, 1, v3)));
    } else { // Heun's method of order 3, which needs no velocity at the end
      const v2 = velocity(denoiser, combine(1, x, h / 3, v1), schedule, t + h / 3);
      const v3 = velocity(denoiser, combine(1, x, (2 * h) / 3, v2), schedule, t + (2 * h) / 3);
      x = combine(1, x, 0.25 * h, combine(1, v1, 3, v3));
    }
    yield x;
  }
}

/** Return ddpm's step from pure noise, alpha = 0. */
function fromNoise(denoiser, x, sigma, alpha_, sigma_, addNoise) {
  const x0 = denoiser.denoise(x, 0, sigma);
  x = combine(alpha_, x0, 0, x0);
  return sigma_ > 0 ? addNoise(x, sigma_) : x;
}

function* em(denoiser, x, schedule, times, addNoise) {
  for (const [t, t_] of intervals(times)) {
    const [alpha, sigma] = schedule.at(t);
    if (alpha === 0) {
      x = fromNoise(denoiser, x, sigma, ...schedule.at(t_), addNoise);
    } else {
      const [alphaDot, sigmaDot] = schedule.derivative(t), f = alphaDot / alpha, h = t - t_;
      const g2 = 2 * sigma * (sigmaDot - f * sigma), gain = (h * g2) / sigma ** 2;
      x = combine(1 - h * f - gain, x, gain * alpha, denoiser.denoise(x, alpha, sigma));
      x = addNoise(x, Math.sqrt(h * g2));
    }
    yield x;
  }
}

function* ei(denoiser, x, schedule, times, addNoise) {
  for (const [alpha, sigma, alpha_, sigma_] of levelsOf(schedule, times)) {
    if (alpha === 0) {
      x = fromNoise(denoiser, x, sigma, alpha_, sigma_, addNoise);
    } else {
      const r = Math.hypot(alpha, sigma), r_ = Math.hypot(alpha_, sigma_);
      const ratio = (alpha * sigma_) / (alpha_ * sigma), c = (alpha_ * r) / (alpha * r_);
      const gain = (2 * (c - 1) * r_ * r) / sigma ** 2;
      x = combine(alpha_ / alpha - gain, x, gain * alpha, denoiser.denoise(x, alpha, sigma));
      x = addNoise(x, r_ * (sigma / r) * c * Math.sqrt(1 - ratio ** 2));
    }
    yield x;
  }
}

function* dpmpp2m(denoiser, x, schedule, times) {
  let last = null, lastH = Infinity;
  for (const [alpha, sigma, alpha_, sigma_] of levelsOf(schedule, times)) {
    const shrink = (alpha * sigma_) / (alpha_ * sigma), h = shrink > 0 ? -Math.log(shrink) : Infinity;
    const x0 = denoiser.denoise(x, alpha, sigma);
    let estimate = x0;
    if (last !== null && isFinite(h) && isFinite(lastH)) {
      const more = (0.5 * h) / lastH;
      estimate = combine(1 + more, x0, -more, last);
    }
    x = combine(sigma_ / sigma, x, alpha_ * (1 - shrink), estimate);
    last = x0;
    lastH = h;
    yield x;
  }
}
