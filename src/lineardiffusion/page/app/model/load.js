// The model of the page: its description (JSON) and its arrays, unpacked from base64 and gzip.
//
// A symbol is what has a Gaussian of its own: a style of a prompt, or a prompt without styles. POOLED stands for
// the Gaussian of all images together, which guidance moves away from.
//
/**
 * @typedef {Object} Model
 * @property {number} d, D                    entries of a latent, and of an image
 * @property {number[]} shape                 shape of an image; height, width and channels follow from it
 * @property {boolean} isImage                whether the shape is that of an image: (h, w), (h, w, 1) or (h, w, 3)
 * @property {number} low, high               range of the pixels
 * @property {string[]} prompts
 * @property {{name: string, prompt: number, style: ?number, weight: number}[]} symbols
 * @property {Float64Array[]} examples        images that the model drew
 * @property {Float64Array} componentDeviation  standard deviation of each entry of a latent
 * @property {string} sampler                 with numSteps and guidanceScale the model's own settings
 * @property {string} scheduleName
 */

import {arrayReader} from "../numerics/arrays.js";

/** Return the model of a description and of its arrays (gzip in base64). */
export async function loadModel(meta, base64) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("This browser cannot unpack the model; open the page in one from 2023 or later.");
  }
  const zipped = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
  return modelOf(meta, await new Response(stream).arrayBuffer());
}

/** Return the model of a description and the buffer of its arrays. */
function modelOf(meta, buffer) {
  const read = arrayReader(meta.arrays, buffer), values = (name) => (read(name) || {values: null}).values;
  const components = read("components"), [d, D] = components.shape;
  const unit = meta.scalingFactor, pixelScale = values("pixelScale") || new Float64Array(D).fill(1);
  const {prompt, style, weight} = meta.symbols, {shape} = meta;
  const isImage = shape.length === 2 || (shape.length === 3 && (shape[2] === 1 || shape[2] === 3));
  const model = {
    d, D, shape, isImage,
    height: isImage ? shape[0] : 1,
    width: isImage ? shape[1] : D,
    channels: isImage ? shape[2] || 1 : 1,
    low: meta.range[0],
    high: meta.range[1],
    prompts: meta.prompts,
    symbols: prompt.map((u, i) => ({
      name: style[i] === null ? meta.prompts[u] : `${meta.prompts[u]}~${style[i]}`,
      prompt: u, style: style[i], weight: weight[i],
    })),
    hasStyles: style.some((k) => k !== null),
    sampler: meta.sampler,
    numSteps: meta.numSteps,
    guidanceScale: meta.guidanceScale,
    scheduleName: meta.schedule.name,
    schedule: meta.schedule,
    scalingFactor: unit,
    mean: values("mean"),
    components: components.values, // V, rows
    pixelScale,
    scale: pixelScale.map((r) => r * unit), // pixels in a unit of the latents
    residual: meta.residual, // v, variance of a discarded direction, in squared units of the latents
    floor: meta.floor, // least variance of a law by which images are scored
    temperature: meta.temperature,
    contrast: meta.contrast,
    styles: meta.styles,
    arrays: read,
    cache: new Map(), // what is computed once
  };
  const examples = read("examples");
  model.examples = Array.from({length: examples.shape[0]}, (_, i) => examples.values.slice(i * D, (i + 1) * D));
  // the diagonal of a covariance is that of its roots
  model.componentDeviation = read("pooled.spread").values;
  return model;
}

/** Return the value of a key, computed once for a model. */
export function once(model, key, compute) {
  if (!model.cache.has(key)) model.cache.set(key, compute());
  return model.cache.get(key);
}

/** Return the numbers of an array, read once. */
export function arrayOf(model, name) {
  return once(model, name, () => model.arrays(name)).values;
}
