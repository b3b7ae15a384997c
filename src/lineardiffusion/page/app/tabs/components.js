// Components: an image is the mean and a weighted sum of principal components,
//
//     x = mean + r s V^T z,      z_i in standard deviations of the training images

import {announce, box} from "../ui/dom.js";
import {decode, encode} from "../model/encoder.js";
import {button, counter, slider} from "../ui/controls.js";
import {describe, paint, paintSigned, picture} from "../ui/pictures.js";

const SLIDERS = 15, MOST_DEVIATIONS = 3, STEP = 0.05;

export function componentsTab(model, changed) {
  const {d, D, components, scale, componentDeviation: deviation} = model, n = Math.min(SLIDERS, d);
  const canvas = picture(model, "the sum"), total = deviation.reduce((sum, s) => sum + s * s, 0);
  const meanAt = model.examples.length; // the mean comes after the examples
  let base;
  const value = Math.min(7, meanAt - 1);
  const example = counter({
    name: "example", label: "Next example", count: meanAt + 1, value, changed, set: () => begin(),
  });
  const sliders = Array.from({length: n}, (_, i) => slider({
    name: `c${i + 1}`, label: `Component ${i + 1}`, min: -MOST_DEVIATIONS, max: MOST_DEVIATIONS, step: STEP,
    value: 0, changed, format: (x) => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(2)}`,
  }));
  const cells = sliders.map((one, i) => {
    const part = picture(model, `component ${i + 1}`), share = (100 * deviation[i] ** 2) / (total || 1);
    paintSigned(part, model, scale.map((s, j) => s * components[i * D + j]));
    describe(part, `Component ${i + 1}, ${share.toFixed(1)} % of the variance that the components keep`);
    return box("component", part, one.element);
  });
  const begin = () => {
    base = example.value === meanAt ? new Float64Array(d) : encode(model, model.examples[example.value]);
    sliders.forEach((one, i) => {
      one.value = deviation[i] > 0 ? base[i] / deviation[i] : 0;
      one.initial = one.value;
    });
  };
  const mean = button("Mean", () => { example.value = meanAt; changed(); });
  begin();

  const signs = model.channels === 3 ? "are shown about grey" : "add where they are orange and subtract where blue";
  return {
    heading: "Slide the principal components",
    text: `The picture is the mean of the training images plus a weighted sum of components, which ${signs}. `
      + `The sliders set the first ${n} of ${d} weights, in standard deviations.`,
    formula: ["x = mean + s Σᵢ zᵢ vᵢ", "vᵢ: eigenvectors of the covariance of the pixels"],
    fields: [example, ...sliders],
    body: [box("pad", canvas, box("buttons", mean, example.element)), box("components wide", ...cells)],
    update() {
      const latent = Float64Array.from(base);
      // a slider that was not moved keeps the exact weight
      sliders.forEach((one, i) => { if (one.value !== one.initial) latent[i] = one.value * deviation[i]; });
      paint(canvas, model, decode(model, latent));
      const moved = sliders.filter((one) => one.value !== one.initial).map((one) => `${one.name} ${one.text}`);
      const text = [example.value === meanAt ? "The mean" : `Example ${example.value + 1}`, ...moved].join(", ");
      describe(canvas, text);
      announce(text);
    },
  };
}
