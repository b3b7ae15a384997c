// The denoiser on images: encode, D(x; 1, sigma), decode. Under a prompt with styles, or under all prompts
// together, it is the posterior mean of a mixture. With the scale r of a pixel the noisy image is x0 + sigma r n,
// and its score, in the plane of the latents and in units of the pixels, is (D(x) - x) / (sigma r)^2.

import {once} from "./load.js";
import {drawnLaw, POOLED} from "./gaussians.js";
import {mixtureDenoiser, symbolDenoiser} from "./denoisers.js";
import {decode, encode} from "./encoder.js";
import {latentState} from "./states.js";

/**
 * Return the expected clean image of a noisy one under a prompt (its place) or, with null, under all of them; and
 * the score as an image. `sigma` is in pixel units, or in standard deviations of the pixels if they are
 * standardised. With null the probabilities of the prompts come too.
 *
 * Prompts that share words have no mixture: with null they have the denoiser of the pooled Gaussian, and a prompt
 * with styles has that of its most frequent one.
 */
export function denoise(model, image, sigma, prompt = null) {
  const {d, D, symbols, prompts, pixelScale, components, scalingFactor} = model, x = encode(model, image);
  const level = Math.min(Math.max(sigma / scalingFactor, 1e-100), 1e100);
  const asked = (one) => one.weight > 0 && (prompt === null || one.prompt === prompt);
  const own = Array.from(symbols.keys()).filter((k) => asked(symbols[k]));
  const shared = model.arrays("regression.mean") !== null;
  let clean, probabilities;
  if (shared || own.length === 1) {
    const likeliest = own.reduce((a, b) => (symbols[b].weight > symbols[a].weight ? b : a), own[0]);
    const denoiser = symbolDenoiser(model, shared && prompt === null ? POOLED : likeliest);
    clean = denoiser.denoise(latentState([x]), 1, level).rows;
    if (prompt === null && prompts.length === 1) probabilities = Float64Array.of(1);
  } else {
    const mixture = once(model, `mixture ${prompt}`, () => {
      const total = own.reduce((sum, k) => sum + symbols[k].weight, 0);
      return mixtureDenoiser(own.map((k) => drawnLaw(model, k)), own.map((k) => symbols[k].weight / total));
    });
    clean = mixture.answer(x, 1, level);
    if (prompt === null) {
      probabilities = new Float64Array(prompts.length);
      mixture.shares(x, 1, level).forEach((share, i) => { probabilities[symbols[own[i]].prompt] += share; });
    }
  }
  const score = new Float64Array(D);
  for (let i = 0, k = 0; i < d; i++) for (let j = 0; j < D; j++, k++) score[j] += (clean[i] - x[i]) * components[k];
  for (let j = 0; j < D; j++) score[j] *= scalingFactor / (pixelScale[j] * sigma * sigma);
  return {image: decode(model, clean), score, probabilities};
}
