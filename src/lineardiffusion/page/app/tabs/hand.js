// Hand: the noise of an image under its prompt, and what other prompts draw from that noise. With the mean m and
// the covariance C of a prompt's latents,
//
//     n = C^-1/2 (z - m),      z' = m' + C'^1/2 n
//
// A prompt with styles has the mean and the covariance of the mixture of them: no style of one prompt belongs to a
// style of another. In directions of little variance l, small differences would become much noise, so that the
// noise has l / (l + floor) of its size there.

import {multiply, multiplyTransposed, symmetricEigen} from "../numerics/linalg.js";
import {once} from "../model/load.js";
import {drawnLaw, POOLED, scoredLaws} from "../model/gaussians.js";
import {decode, encode, finish} from "../model/encoder.js";
import {Posterior} from "../model/posterior.js";
import {announce, box, element, setText, shown} from "../ui/dom.js";
import {bars, ranked, verdict} from "../ui/bars.js";
import {choice, slider} from "../ui/controls.js";
import {captioned, describe, paint, picture} from "../ui/pictures.js";
import {drawing} from "./drawing.js";
import {promptOptions, stylesOf} from "./symbols.js";

const MOST_PROMPTS = 30; // that are drawn

export function handTab(model, changed) {
  const {prompts, D} = model;
  const n = Math.min(MOST_PROMPTS, prompts.length), several = prompts.length > 1;
  let posterior = null;
  const own = drawing(model, {label: "the example of a hand", tools: ["Draw", "Erase"], value: 5, changed});
  const {pad} = own;
  const amount = slider({
    name: "amount", label: "How much of the hand", min: 0, max: 1.5, step: 0.05, value: 1, changed,
    format: (x) => `${Math.round(100 * x)} %`,
  });
  const options = [[null, "the likeliest prompt"], ...promptOptions(prompts)];
  const read = choice({name: "as", label: "Read it as", options, value: null, changed});
  const results = bars(model), sentence = element("p", {class: "verdict"});
  const cells = Array.from({length: n}, () => ({canvas: picture(model, "picture"), caption: element("span")}));
  const likeliest = `The ${n} likeliest of ${prompts.length} prompts.`;
  const note = n < prompts.length ? [element("p", {class: "hint"}, likeliest)] : [];

  return {
    heading: "Write every prompt in one hand",
    text: "The picture is turned back into the noise that gives it under its prompt. "
      + "Other prompts get the same noise, and so the same width and slant of the strokes.",
    formula: ["n = √C⁻¹ (z − m)", "z′ = m′ + √C′ n", "m and C: mean and covariance of the latents of a prompt"],
    fields: [own.example, amount, read],
    body: [
      own.element,
      box("wide",
        box("line", amount.element, ...(several ? [read.element] : [])), sentence,
        box("pictures five", ...cells.map(({canvas, caption}) => captioned(canvas, caption))), ...note),
      box("results", results.element),
    ],
    update() {
      own.begin();
      posterior = posterior ?? new Posterior(model, new Uint8Array(D).fill(1));
      const {probabilities} = posterior.observe(pad.image), order = ranked(probabilities);
      const from = read.value === null ? order[0] : prompts.indexOf(read.value);
      const noise = noiseOf(model, from, encode(model, pad.image));
      const size = Math.hypot(...noise) / Math.sqrt(model.d);
      const reading = several ? `${verdict(model, probabilities)}. ` : "";
      const text = `${reading}Size of its noise: ${size.toFixed(2)} (typical: 1)`;
      pad.show(own.title());
      results.show(probabilities);
      setText(sentence, text);
      announce(text);
      const places = n < prompts.length ? order.slice(0, n) : Array.from(prompts.keys());
      const scaled = noise.map((x) => amount.value * x);
      for (const [i, u] of places.entries()) {
        const {canvas, caption} = cells[i], image = decode(model, latentOf(model, u, scaled));
        paint(canvas, model, finish(model, image, model.hasStyles ? POOLED : u));
        setText(caption, shown(prompts[u]));
        describe(canvas, `${shown(prompts[u])} in the hand of the picture`);
      }
    },
  };
}

/** Return the noise of a latent under a prompt. */
function noiseOf(model, prompt, latent) {
  const {mean, variance, basis} = lawOfPrompt(model, prompt), {d, floor} = model;
  const u = multiply(latent.map((z, i) => z - mean[i]), basis, 1, d, d);
  for (let i = 0; i < d; i++) u[i] *= variance[i] > 0 ? Math.sqrt(variance[i]) / (variance[i] + floor) : 0;
  return multiplyTransposed(u, basis, 1, d, d);
}

/** Return the latent of a noise under a prompt. */
function latentOf(model, prompt, noise) {
  const {mean, variance, basis} = lawOfPrompt(model, prompt), {d} = model, u = multiply(noise, basis, 1, d, d);
  for (let i = 0; i < d; i++) u[i] *= Math.sqrt(variance[i]);
  return multiplyTransposed(u, basis, 1, d, d).map((z, i) => z + mean[i]);
}

/** Return the mean, the variances and the eigenvectors of all latents of a prompt. */
function lawOfPrompt(model, prompt) {
  return once(model, `prompt ${prompt}`, () => {
    const own = stylesOf(model, prompt);
    if (own.length === 1 && model.arrays("regression.mean") === null) return drawnLaw(model, own[0].symbol);
    const {d} = model, laws = scoredLaws(model), mean = new Float64Array(d), C = new Float64Array(d * d);
    const centres = own.map(({symbol}) => laws.mean.subarray(symbol * d, (symbol + 1) * d));
    own.forEach(({share}, k) => { for (let i = 0; i < d; i++) mean[i] += share * centres[k][i]; });
    own.forEach(({symbol, share}, k) => {
      const S = laws.covariances[symbol], step = centres[k].map((m, i) => m - mean[i]);
      for (let i = 0, at = 0; i < d; i++) {
        for (let j = 0; j < d; j++, at++) C[at] += share * (S[at] + step[i] * step[j]);
      }
    });
    const {values, vectors} = symmetricEigen(C, d);
    return {mean, variance: values.map((l) => Math.max(l, 0)), basis: vectors};
  });
}
