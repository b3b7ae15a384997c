// From images to latents and back, and from decoded images to finished pictures.
//
//     encode      z = V ((x - mean) / (r s))
//     decode      x = mean + r s V^T z
//     contrast    y = clip(gain x + offset), with a gain and an offset for all, or for each pixel of each symbol;
//                 or a step function of all pixels (histogram)

import {arrayOf, once} from "./load.js";

/** Return the latent (d,) of an image (D,). */
export function encode(model, image) {
  const {d, D, components, mean, scale} = model, z = new Float64Array(d), x = new Float64Array(D);
  for (let j = 0; j < D; j++) x[j] = (image[j] - mean[j]) / scale[j];
  for (let i = 0; i < d; i++) {
    let sum = 0;
    for (let j = 0, p = i * D; j < D; j++) sum += components[p + j] * x[j];
    z[i] = sum;
  }
  return z;
}

/** Return the image (D,) of a latent (d,), without contrast. */
export function decode(model, latent) {
  const {d, D, components, mean, scale} = model, x = new Float64Array(D);
  for (let i = 0; i < d; i++) {
    const a = latent[i];
    if (a !== 0) for (let j = 0, p = i * D; j < D; j++) x[j] += a * components[p + j];
  }
  for (let j = 0; j < D; j++) x[j] = mean[j] + scale[j] * x[j];
  return x;
}

/** Return the picture of an image that was drawn under a symbol, or under POOLED. */
export function finish(model, image, symbol, guidanceScale = 1) {
  return contrasted(model, image, symbol, false, guidanceScale);
}

/** Return the picture of an image that was drawn from a posterior, under a symbol. */
export function finishPosterior(model, image, symbol) {
  return contrasted(model, image, symbol, true, 1);
}

function contrasted(model, image, symbol, posterior, guidanceScale) {
  const {contrast, D} = model, out = new Float64Array(D);
  if (contrast === null) return new Float64Array(image);
  if (contrast.kind === "histogram") {
    const thresholds = arrayOf(model, "contrast.thresholds"), values = arrayOf(model, "contrast.values");
    for (let j = 0; j < D; j++) out[j] = values[countBelow(thresholds, image[j])];
    return out;
  }
  const {gain, offset, low, high} = contrast;
  if (contrast.kind === "affine" || !(symbol >= 0)) {
    for (let j = 0; j < D; j++) out[j] = clip(gain * image[j] + offset, low, high);
    return out;
  }
  const own = once(model, "pixelwise", () => pixelwise(model));
  const centre = once(model, `centre ${symbol}`, () => {
    return decode(model, arrayOf(model, "laws.mean").subarray(symbol * model.d, (symbol + 1) * model.d));
  });
  // guidance with a scale below 1 has a part of the pooled Gaussian, whose contrast is the affine one
  const share = guidanceScale < 0 ? 0 : guidanceScale < 1 ? guidanceScale : 1;
  for (let j = 0, k = symbol * D; j < D; j++, k++) {
    const slope = posterior ? own.gain[k] * own.ratio[k] : own.gain[k];
    let y = slope * (image[j] - centre[j]) + own.level[k];
    if (share < 1) y = share * y + (1 - share) * (gain * image[j] + offset);
    out[j] = clip(y, low, high);
  }
  return out;
}

/** Return the gain, the value that the mean of the pixel gets, and the ratio of gains of posteriors, all (K, D). */
function pixelwise({arrays, D, low, high}) {
  const read = (name) => arrays(`contrast.${name}`).values, constant = read("constant"), middle = read("middle");
  return {
    gain: read("size").map((x, k) => (constant[k] ? 0 : Math.exp(x + middle[k % D]))),
    level: read("level").map((x) => (high - low || 1) * Math.sinh(x)),
    ratio: read("ratio"),
  };
}

function clip(x, low, high) {
  return x < low ? low : x > high ? high : x;
}

/** Return how many of the rising thresholds are below x. */
function countBelow(thresholds, x) {
  let first = 0, last = thresholds.length;
  while (first < last) {
    const middle = (first + last) >> 1;
    if (thresholds[middle] < x) first = middle + 1; else last = middle;
  }
  return first;
}
