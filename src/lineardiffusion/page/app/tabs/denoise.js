// Denoise: noise of one level on an example, the denoiser's answer, and the score of the noisy image,
//
//     x = x0 + sigma n,      D(x) = E[x0 | x],      score = (D(x) - x) / sigma^2
//
// where x and x0 are divided by the standard deviation r of each pixel in a model of standardised pixels.

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
  const unit = standardised ? ", in standard deviations" : "";
  const format = (x) => number(x) + (standardised ? "" : ` (${Math.round((100 * x) / range)} % of the range)`);
  const sigma = slider({
    name: "sigma", label: `Noise level σ${unit}`, min: 0.02 * range, max: 8 * range, scale: "log",
    value: Number((0.4 * range).toPrecision(6)), changed, format,
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
      "x = x₀ + σ n", "D(x) = E[x₀ | x]", "score = ∇ log p(x) = (D(x) − x) / σ²",
      ...(standardised ? ["of pixels divided by their standard deviations"] : []),
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
      paintSigned(score, model, found.score.map((s, j) => pixelScale[j] * s));
      results.show(p);
      const squares = found.image.reduce((sum, value, j) => sum + ((value - image[j]) / pixelScale[j]) ** 2, 0);
      const errors = [Math.sqrt(squares / D), sigma.value].map(number);
      const text = `${p ? `${verdict(model, p)}. ` : ""}Root mean squared error of the answer: ${errors[0]}, `
        + `of the noisy image: ${errors[1]}${unit}`;
      setText(sentence, text);
      announce(text);
      const under = `under ${u === null ? "all prompts" : shown(prompt.value)}`;
      describe(clean, `Example ${example.value + 1}`);
      describe(noisy, `Example ${example.value + 1} with noise of ${format(sigma.value)}${unit}`);
      describe(answer, `Answer of the denoiser ${under}`);
      describe(score, `Score of the noisy image ${under}`);
    },
  };
}
