// From noise to latents: drawing under a symbol, and its trajectory.
//
// Without guidance a deterministic sampler is one gain and one offset for each eigendirection of the symbol's
// covariance, z = m' + Q diag(g) Q^T n, whatever the number of steps.

import {multiply, multiplyTransposed} from "../numerics/linalg.js";
import {once} from "./load.js";
import {courseOf, isStochastic, run} from "./samplers.js";
import {guidedDenoiser, symbolDenoiser} from "./denoisers.js";
import {identityMap, latentsOf, latentState, noiseAdder, partsOf, withNoise} from "./states.js";

const MAPS_BYTES = 32e6; // of maps that are kept

/** Return the settings of a sampler, the model's own where they are left out. */
function settingsOf(model, {sampler, numSteps, guidanceScale} = {}) {
  return {
    sampler: sampler ?? model.sampler,
    numSteps: numSteps ?? model.numSteps,
    guidanceScale: guidanceScale ?? model.guidanceScale,
  };
}

/** Return the latents (d,) that starting noises `latents` are taken to; `noise()` returns a normal number. */
export function predict(model, {symbol, latents, noise, ...given}) {
  const settings = settingsOf(model, given), {sampler, guidanceScale} = settings;
  const affine = symbolDenoiser(model, symbol).law && guidanceScale === 1;
  if (affine && !isStochastic(sampler)) {
    return applyMap(model, symbol, composed(model, {symbol, ...settings}), latents);
  }
  let last;
  for (const state of states(model, {symbol, latents, noise, ...settings}, false)) last = state;
  return latentsOf(last);
}

/** Return the latents at every time, from the scaled starting noise on. */
export function trajectory(model, {symbol, latents, noise, ...given}) {
  return Array.from(states(model, {symbol, latents, noise, ...settingsOf(model, given)}, true), latentsOf);
}

function* states(model, {symbol, latents, noise, sampler, numSteps, guidanceScale}, every) {
  const course = courseOf(sampler, model.schedule, numSteps), {schedule} = course;
  const times = sampler === "exact" && !every ? ends(course.times) : course.times;
  const [, sigma] = schedule.at(times[0]);
  const start = latentState(latents);
  start.rows = start.rows.map((x) => sigma * x);
  yield start;
  yield* run(sampler, guidedDenoiser(model, symbol, guidanceScale), start, schedule, times, noiseAdder(noise));
}

function ends(times) {
  return Float64Array.of(times[0], times[times.length - 1]);
}

/** Return the map from starting noise to latents under a symbol; in its eigenbasis where there is no guidance. */
export function composed(model, given) {
  const work = composing(model, given);
  let step = work.next();
  while (!step.done) step = work.next();
  return step.value;
}

/** Compose a map step by step, so that it may be done between frames. */
export function* composing(model, {symbol, ...given}) {
  const maps = once(model, "maps", () => new Map());
  const {sampler, numSteps, guidanceScale} = settingsOf(model, given);
  const steps = sampler === "exact" || sampler === "one_step" ? 1 : numSteps;
  const key = `${[symbol, sampler, steps, guidanceScale]}`;
  if (!maps.has(key)) {
    const {schedule, times} = courseOf(sampler, model.schedule, numSteps);
    const own = symbolDenoiser(model, symbol), diagonal = guidanceScale === 1 && own.law !== undefined;
    const denoiser = diagonal ? own.coordinates() : guidedDenoiser(model, symbol, guidanceScale);
    let map = identityMap(model.d, schedule.at(times[0])[1], diagonal);
    const visited = sampler === "exact" ? ends(times) : times;
    for (const state of run(sampler, denoiser, map, schedule, visited, withNoise)) {
      map = state;
      yield;
    }
    let bytes = map.rows.byteLength;
    for (const one of maps.values()) bytes += one.rows.byteLength;
    for (const [oldest, {rows}] of maps) {
      if (bytes <= MAPS_BYTES) break;
      bytes -= rows.byteLength;
      maps.delete(oldest);
    }
    maps.set(key, map);
  }
  return maps.get(key);
}

/** Return the values of a map without noise of its own at starting noises. */
function applyMap(model, symbol, map, latents) {
  const {d} = model, {matrix, offset} = partsOf(map), {basis} = symbolDenoiser(model, symbol).law;
  return latents.map((n) => {
    const u = multiply(n, basis, 1, d, d);
    for (let i = 0; i < d; i++) u[i] = u[i] * matrix[i] + offset[i];
    return multiplyTransposed(u, basis, 1, d, d);
  });
}
