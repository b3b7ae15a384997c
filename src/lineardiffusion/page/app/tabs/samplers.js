// Samplers: the same starting noise under any sampler, and the distance W2 of the law that it draws from to the
// exact one. Every sampler is an affine map of the noise, so both laws are Gaussians,
//
//     W2^2 = |b - b'|^2 + tr(S + S' - 2 (S^1/2 S' S^1/2)^1/2)

import {generator} from "../numerics/random.js";
import {wasserstein} from "../model/laws.js";
import {SAMPLERS} from "../model/samplers.js";
import {composing, trajectory} from "../model/sampling.js";
import {decode, finish} from "../model/encoder.js";
import {announce, box, element, setText} from "../ui/dom.js";
import {choice, counter, slider} from "../ui/controls.js";
import {background} from "../ui/frames.js";
import {captioned, describe, paint, picture} from "../ui/pictures.js";
import {chart} from "../ui/chart.js";
import {symbolFields} from "./symbols.js";

const PICTURES = 10, MOST_STEPS = 60, MOST_GUIDANCE = 4, STRIP = 9;
const COUNTS = [1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 40, 60];
const WITHOUT_STEPS = ["exact", "one_step"], CURVES = SAMPLERS.filter((name) => !WITHOUT_STEPS.includes(name));

export function samplersTab(model, changed) {
  const named = symbolFields(model, changed, 3);
  const sampler = choice({name: "sampler", label: "Sampler", options: SAMPLERS, value: "ddim", changed});
  const steps = slider({name: "steps", label: "Steps", min: 1, max: MOST_STEPS, value: 6, changed});
  const guidance = slider({
    name: "guidance", label: "Guidance", step: 0.1, value: model.guidanceScale, changed,
    min: Math.min(0, Math.floor(model.guidanceScale)), max: Math.max(MOST_GUIDANCE, Math.ceil(model.guidanceScale)),
    format: (x) => String(Number(x.toFixed(3))),
  });
  const noise = counter({name: "noise", label: "Other noise", changed});
  const which = slider({name: "picture", label: "Picture of the strip", min: 1, max: PICTURES, value: 1, changed});
  const pictures = Array.from({length: PICTURES}, (_, i) => picture(model, `picture ${i + 1}`));
  const strip = box("pictures strip-of-steps"), sentence = element("p", {class: "verdict"});
  const plot = chart({x: "number of steps", y: "W₂, in units of the latents"}), work = background();
  let curves = new Map(), key = "", point = null;

  const showPoint = (settings) => {
    const fixed = WITHOUT_STEPS.includes(settings.sampler), distance = wasserstein(model, settings);
    const text = sentenceOf(settings, fixed, distance), {sampler: name, numSteps} = settings;
    setText(sentence, text);
    announce(text);
    point = {name, x: fixed ? 1 : numSteps, y: distance, everywhere: name === "exact"};
    showChart();
  };
  const showChart = () => plot.show({
    lines: CURVES.filter((name) => curves.has(name)).map((name) => ({name, points: curves.get(name)})),
    chosen: sampler.value, point,
  });
  /** Compute the distance and the curves between frames, and show each when it is done. */
  const distances = function* (settings) {
    const {symbol, guidanceScale} = settings, own = `${symbol} ${guidanceScale}`;
    yield* composing(model, settings);
    if (own !== key) curves = new Map();
    key = own;
    showPoint(settings);
    for (const name of [...CURVES].sort((a, b) => (b === settings.sampler) - (a === settings.sampler))) {
      if (curves.has(name)) continue;
      const points = [];
      for (const numSteps of COUNTS) {
        const one = {symbol, sampler: name, guidanceScale, numSteps};
        yield* composing(model, one);
        points.push([numSteps, wasserstein(model, one)]);
        yield;
      }
      curves.set(name, points);
      showChart();
    }
  };
  const showStrip = (latents, symbol) => {
    const last = latents.length - 1, n = Math.min(STRIP, latents.length), exact = sampler.value === "exact";
    while (strip.childElementCount > n) strip.lastChild.remove();
    while (strip.childElementCount < n) strip.append(captioned(picture(model, "step"), ""));
    for (let i = 0; i < n; i++) {
      const at = Math.round((i * last) / Math.max(1, n - 1)), image = decode(model, latents[at]);
      const caption = at === 0 ? "noise" : !exact ? `step ${at}` : at === last ? "end" : `${i} of ${n - 1}`;
      const [canvas, text] = strip.children[i].children;
      paint(canvas, model, at === last ? finish(model, image, symbol, guidance.value) : image);
      describe(canvas, `Picture ${which.value}, ${caption}`);
      setText(text, caption);
    }
  };

  return {
    heading: "Choose a sampler",
    text: `The ${PICTURES} pictures start from the same noise whatever the sampler. `
      + "Each sampler is an affine map of noise and draws from a Gaussian; W₂ is its distance to the exact law.",
    formula: ["W₂² = |b − b′|² + tr(S + S′ − 2 √(√S S′ √S))", "between N(b, S) and N(b′, S′)"],
    fields: [...named.fields, sampler, steps, guidance, noise, which],
    body: [
      box("side", ...[...named.fields, sampler, steps, guidance, which, noise].map((one) => one.element)),
      box("wide", box("pictures ten", ...pictures.map((one) => captioned(one))), sentence, plot.element),
      box("whole", element("h3", {}, "The steps of one picture"), strip),
    ],
    leave: () => work.stop(),
    update() {
      const {symbol} = named, fixed = WITHOUT_STEPS.includes(sampler.value), exact = sampler.value === "exact";
      const settings = {symbol, sampler: sampler.value, guidanceScale: guidance.value, numSteps: steps.value};
      const random = generator(11 + noise.value);
      const latents = Array.from({length: PICTURES}, () => random.normals(model.d));
      // the exact sampler takes any number of steps to the same picture
      const numSteps = exact ? STRIP - 1 : steps.value;
      const course = trajectory(model, {...settings, latents, noise: random.normal, numSteps});
      for (const [i, latent] of course[course.length - 1].entries()) {
        paint(pictures[i], model, finish(model, decode(model, latent), symbol, guidance.value));
        describe(pictures[i], `Picture ${i + 1} of ${model.symbols[symbol].name} by ${sampler.value}`);
      }
      showStrip(course.map((states) => states[which.value - 1]), symbol);
      steps.input.disabled = fixed;
      work.start(distances(settings));
    },
  };
}

function sentenceOf({sampler, numSteps, guidanceScale}, fixed, distance) {
  const counted = fixed ? "" : ` with ${numSteps} step${numSteps > 1 ? "s" : ""}`;
  const [guided, plain] = guidanceScale === 1 ? ["", ""] : [` and guidance ${guidanceScale}`, " without guidance"];
  const digits = distance < 1e-6 ? "0" : distance < 0.01 ? distance.toExponential(1) : distance.toPrecision(3);
  return `W₂ of ${sampler}${counted}${guided} to the exact law${plain}: ${digits}`;
}
