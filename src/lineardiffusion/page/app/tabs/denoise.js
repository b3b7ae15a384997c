// Denoise: noise of one level on an example, the denoiser's answer, and the score of the noisy image,
//
//     x = x0 + sigma r n,      D(x) = E[x0 | x],      score = (D(x) - x) / (sigma r)^2
//
// with the standard deviation r of each pixel in a model of standardised pixels, and r = 1 in others.

import {generator} from "../numerics/random.js";
import {denoise} from "../model/denoise.js";
import {announce, box, element, setText, shown} from "../ui/dom.js";
import {bars, verdict} from "../ui/bars.js";
import {choice, counter, slider} from "../ui/controls.js";
import {captioned, describe, paint, paintSigned, picture} from "../ui/pictures.js";
import {promptOptions} from "./symbols.js";

const TYPICAL_RANGE = 2.5; // of a pixel, in its standard deviations

export function denoiseTab(model, changed) {
  const {low, high, prompts, D, examples, pixelScale} = model, last = examples.length - 1;
  const standardised = pixelScale.some((r) => r !== 1), several = prompts.length > 1;
  const range = standardised ? TYPICAL_RANGE : high - low || 1;
  const number = (x) => String(Number(x.toPrecision(3)));
  const format = (x) => (standardised ? `${number(x)} standard deviations`
    : `${number(x)} (${Math.round((100 * x) / range)} % of the range)`);
  const sigma = slider({
    name: "sigma", label: "Noise level σ", min: 0.02 * range, max: 8 * range, scale: "log", changed, format,
    value: Number((0.4 * range).toPrecision(6)),
  });
  const options = [[null, "all prompts"], ...promptOptions(prompts)];
  const prompt = choice({name: "prompt", label: "Prompt", options, value: null, changed});
  const example = counter({
    name: "example", label: "Next example", count: last + 1, value: Math.min(4, last), changed,
  });
  const noise = counter({name: "noise", label: "Other noise", changed});
  const results = bars(model), sentence = element("p", {class: "verdict"});
  const [clean, noisy, answer, score] = ["clean", "noisy", "denoised", "score"].map((one) => picture(model, one));

  const signs = model.channels === 3 ? ", about grey" : ": pixels should rise where orange and fall where blue";
  return {
    heading: "Remove the noise",
    text: "The denoiser answers with the expected clean image, given the noisy one. "
      + `The score points towards more probable images${signs}.`,
    formula: [
      standardised ? "x = x₀ + σ r n" : "x = x₀ + σ n", "D(x) = E[x₀ | x]",
      `score = ∇ log p(x) = (D(x) − x) / ${standardised ? "(σ r)²" : "σ²"}`,
      ...(standardised ? ["r: standard deviation of each pixel"] : []),
    ],
    fields: [sigma, prompt, example, noise],
    body: [
      box("wide",
        box("line",
          sigma.element, ...(several ? [prompt.element] : []), box("buttons", example.element, noise.element)),
        box("pictures four",
          captioned(clean, "clean: x₀"), captioned(noisy, "noisy: x"), captioned(answer, "denoised: D(x)"),
          captioned(score, "score")),
        sentence),
      results.element,
    ],
    update() {
      const image = examples[example.value], n = generator(7 + noise.value).normals(D);
      const x = image.map((value, j) => value + sigma.value * pixelScale[j] * n[j]);
      const u = !several || prompt.value === null ? null : prompts.indexOf(prompt.value);
      const found = denoise(model, x, sigma.value, u), p = several ? found.probabilities : undefined;
      paint(clean, model, image);
      paint(noisy, model, x);
      paint(answer, model, found.image);
      paintSigned(score, model, found.score);
      results.show(p);
      const squares = found.image.reduce((sum, value, j) => sum + ((value - image[j]) / pixelScale[j]) ** 2, 0);
      const errors = [Math.sqrt(squares / D), sigma.value].map(number);
      const text = `${p ? `${verdict(model, p)}. ` : ""}Root mean squared error of the answer: ${errors[0]}, `
        + `of the noisy image: ${errors[1]}${standardised ? " standard deviations" : ""}`;
      setText(sentence, text);
      announce(text);
      const under = `under ${u === null ? "all prompts" : shown(prompt.value)}`;
      describe(clean, `Example ${example.value + 1}`);
      describe(noisy, `Example ${example.value + 1} with noise of ${format(sigma.value)}`);
      describe(answer, `Answer of the denoiser ${under}`);
      describe(score, `Score of the noisy image ${under}`);
    },
  };
}
