// Denoise: noise of one level on an example, the denoiser's answer, and the score of the noisy image,
//
//     D(x) = E[clean | x],      score = (D(x) - x) / sigma^2

import {generator} from "../numerics/random.js";
import {denoise} from "../model/denoise.js";
import {announce, element, setText, shown} from "../ui/dom.js";
import {bars, verdict} from "../ui/bars.js";
import {choice, counter, slider} from "../ui/controls.js";
import {captioned, describe, paint, paintSigned, picture} from "../ui/pictures.js";

export function denoiseTab(model, changed) {
  const {low, high, prompts, D} = model, range = high - low || 1, several = prompts.length > 1;
  const digits = range > 20 ? 0 : 3, format = (x) => `${x.toFixed(digits)} (${Math.round((100 * x) / range)} % of the range)`;
  const sigma = slider({name: "sigma", label: "Noise level σ", min: 0.02 * range, max: 8 * range, value: Number((0.4 * range).toPrecision(6)), scale: "log", changed, format});
  const prompt = choice({name: "prompt", label: "Prompt", options: [[null, "all prompts"], ...prompts.map((one) => [one, shown(one)])], value: null, changed});
  const example = counter({name: "example", label: "Next example", count: model.examples.length, value: Math.min(4, model.examples.length - 1), changed});
  const noise = counter({name: "noise", label: "Other noise", changed});
  const results = bars(model), sentence = element("p", {class: "verdict"});
  const [clean, noisy, answer, score] = ["clean image", "noisy image", "answer of the denoiser", "score"].map((label) => picture(model, label));

  return {
    heading: "Remove the noise",
    text: `The denoiser answers with the expected clean image, given the noisy one: much noise leaves only the mean, little noise leaves every detail. The score points from the noisy image towards more probable ones${model.channels === 3 ? ", about grey" : ": pixels should rise where it is orange and fall where it is blue"}.`,
    formula: "x = x₀ + σ n      D(x) = E[x₀ | x]      score = ∇ log p(x) = (D(x) − x) / σ²",
    fields: [sigma, prompt, example, noise],
    body: [
      element("div", {class: "wide"},
        element("div", {class: "line"}, sigma.element, ...(several ? [prompt.element] : []), element("div", {class: "buttons"}, example.element, noise.element)),
        element("div", {class: "pictures four"}, captioned(clean, "clean: x₀"), captioned(noisy, "noisy: x"), captioned(answer, "denoised: D(x)"), captioned(score, "score")),
        sentence),
      results.element,
    ],
    update() {
      const image = model.examples[example.value], n = generator(7 + noise.value).normals(D);
      const x = image.map((value, j) => value + sigma.value * n[j]), u = prompt.value === null ? null : prompts.indexOf(prompt.value);
      const found = denoise(model, x, sigma.value, several ? u : null);
      paint(clean, model, image);
      paint(noisy, model, x);
      paint(answer, model, found.image);
      paintSigned(score, model, found.score);
      results.show(found.probabilities);
      const last = Math.sqrt(found.image.reduce((sum, value, j) => sum + (value - image[j]) ** 2, 0) / D);
      const text = [found.probabilities ? `${verdict(model, found.probabilities)}. ` : "", `Root mean squared error of the answer: ${last.toPrecision(3)}, of the noisy image: ${sigma.value.toPrecision(3)}`].join("");
      setText(sentence, text);
      announce(text);
      describe(clean, `Example ${example.value + 1}`);
      describe(noisy, `Example ${example.value + 1} with noise of ${format(sigma.value)}`);
      describe(answer, `Answer of the denoiser under ${u === null ? "all prompts" : shown(prompt.value)}`);
      describe(score, `Score of the noisy image under ${u === null ? "all prompts" : shown(prompt.value)}`);
    },
  };
}
