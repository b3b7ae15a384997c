// Samplers: the same starting noise under any sampler, and the distance W2 of the law that it draws from to the exact
// one. Every sampler is an affine map of the noise, so both laws are Gaussians,
//
//     W2^2 = |b - b'|^2 + tr(S + S' - 2 (S^1/2 S' S^1/2)^1/2)

import {generator} from "../numerics/random.js";
import {wasserstein, wassersteinCurve} from "../model/laws.js";
import {SAMPLERS} from "../model/samplers.js";
import {trajectory} from "../model/sampling.js";
import {decode, finish} from "../model/encoder.js";
import {announce, element, setText, shown} from "../ui/dom.js";
import {choice, counter, slider} from "../ui/controls.js";
import {background} from "../ui/frames.js";
import {captioned, describe, paint, picture} from "../ui/pictures.js";
import {chart} from "../ui/chart.js";
import {symbolFields} from "./symbols.js";

const PICTURES = 10, MOST_STEPS = 60, STRIP = 9;
const COUNTS = [1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 40, 60];
const CURVES = SAMPLERS.filter((name) => name !== "exact" && name !== "one_step");

export function samplersTab(model, changed) {
  const named = symbolFields(model, changed, 3), of = (values) => values.map((name) => [name, name]);
  const sampler = choice({name: "sampler", label: "Sampler", options: of(SAMPLERS), value: "ddim", changed});
  const steps = slider({name: "steps", label: "Steps", min: 1, max: MOST_STEPS, value: 6, changed});
  const guidance = slider({name: "guidance", label: "Guidance", min: 0, max: 4, step: 0.1, value: Math.min(4, model.guidanceScale), changed, format: (x) => x.toFixed(1)});
  const noise = counter({name: "noise", label: "Other noise", changed});
  const shownStep = slider({name: "picture", label: "Picture of the strip", min: 1, max: PICTURES, value: 1, changed});
  const pictures = Array.from({length: PICTURES}, (_, i) => picture(model, `picture ${i + 1}`));
  const strip = element("div", {class: "pictures strip-of-steps"}), sentence = element("p", {class: "verdict"});
  const plot = chart({x: "number of steps", y: "W₂, in units of the latents"}), work = background();
  let curves = new Map(), key = "";

  /** Compute the curves of the present symbol and guidance, and show them as they come. */
  const refresh = (symbol, guidanceScale) => {
    const own = `${symbol} ${guidanceScale}`;
    if (own === key) return;
    key = own;
    curves = new Map();
    for (const name of model.cache.keys()) if (name.startsWith("map ")) model.cache.delete(name); // of other settings
    work.start(computed(curves, symbol, guidanceScale));
  };
  const computed = function* (found, symbol, guidanceScale) {
    const order = [sampler.value, ...CURVES].filter((name, i, all) => CURVES.includes(name) && all.indexOf(name) === i);
    for (const name of order) {
      const points = [];
      for (const numSteps of COUNTS) {
        points.push([numSteps, wassersteinCurve(model, {symbol, sampler: name, guidanceScale, stepCounts: [numSteps]})[0]]);
        yield;
      }
      found.set(name, points);
      show();
    }
  };
  let current = null;
  const show = () => plot.show({
    lines: CURVES.filter((name) => curves.has(name)).map((name) => ({name, points: curves.get(name)})), chosen: sampler.value, point: current,
  });

  return {
    heading: "Choose a sampler",
    text: `The ${PICTURES} pictures start from the same noise whatever the sampler, and the strip shows one of them step by step. Every sampler is an affine map of its noise, so the law that it draws from is a known Gaussian, and W₂ is its distance to the exact law.`,
    formula: "W₂² = |b − b′|² + tr(S + S′ − 2 √(√S S′ √S))      between N(b, S) and N(b′, S′)",
    fields: [...named.fields, sampler, steps, guidance, noise, shownStep],
    body: [
      element("div", {class: "side"}, ...named.fields.map((one) => one.element), sampler.element, steps.element, guidance.element, shownStep.element, noise.element),
      element("div", {class: "wide"}, element("div", {class: "pictures ten"}, ...pictures.map((one) => captioned(one))), sentence, plot.element),
      element("div", {class: "whole"}, element("h3", {}, "The steps of one picture"), strip),
    ],
    update() {
      const {symbol} = named, settings = {symbol, sampler: sampler.value, guidanceScale: guidance.value, numSteps: steps.value};
      const random = generator(11 + noise.value), latents = Array.from({length: PICTURES}, () => random.normals(model.d));
      // the exact sampler takes any number of steps to the same picture
      const course = trajectory(model, {...settings, latents, noise: random.normal, numSteps: sampler.value === "exact" ? STRIP - 1 : steps.value});
      const last = course[course.length - 1];
      last.forEach((latent, i) => {
        paint(pictures[i], model, finish(model, decode(model, latent), symbol, guidance.value));
        describe(pictures[i], `Picture ${i + 1} of ${shown(model.symbols[symbol].name)} by ${sampler.value}`);
      });
      this.showStrip(course.map((states) => states[shownStep.value - 1]), symbol);
      const distance = wasserstein(model, settings), fixed = sampler.value === "exact" || sampler.value === "one_step";
      const text = `W₂ of ${sampler.value} ${fixed ? "" : `with ${steps.value} step${steps.value > 1 ? "s" : ""} `}to the exact law: ${readable(distance)}`;
      setText(sentence, text);
      announce(text);
      current = {name: sampler.value, x: fixed ? 1 : steps.value, y: distance, everywhere: sampler.value === "exact"};
      refresh(symbol, guidance.value);
      show();
    },
    showStrip(latents, symbol) {
      const n = Math.min(STRIP, latents.length), places = Array.from({length: n}, (_, i) => Math.round((i * (latents.length - 1)) / Math.max(1, n - 1)));
      while (strip.childElementCount > n) strip.lastChild.remove();
      while (strip.childElementCount < n) strip.append(captioned(picture(model, "step"), ""));
      places.forEach((at, i) => {
        const figure = strip.children[i], canvas = figure.firstChild, end = at === latents.length - 1, image = decode(model, latents[at]);
        paint(canvas, model, end ? finish(model, image, symbol, guidance.value) : image);
        const caption = sampler.value === "exact" ? (at === 0 ? "noise" : end ? "end" : `${i} of ${n - 1}`) : at === 0 ? "noise" : `step ${at}`;
        setText(figure.lastChild, caption);
        describe(canvas, `Picture ${shownStep.value}, ${caption}`);
      });
    },
  };
}

/** Return a distance with three digits. */
function readable(distance) {
  return distance < 1e-6 ? "0" : distance < 0.01 ? distance.toExponential(1) : distance.toPrecision(3);
}
