// Components: an image is the mean and a weighted sum of principal components,
//
//     x = mean + r s V^T z,      z_i in standard deviations of the training images

import {announce, element} from "../ui/dom.js";
import {decode, encode} from "../model/encoder.js";
import {button, counter, slider} from "../ui/controls.js";
import {describe, paint, paintSigned, picture} from "../ui/pictures.js";

const SLIDERS = 16, REACH_OF_SLIDERS = 3; // components, and standard deviations

export function componentsTab(model, changed) {
  const {d, D, components, scale, componentDeviation: deviation} = model, n = Math.min(SLIDERS, d);
  const canvas = picture(model, "the sum", "large"), total = deviation.reduce((sum, s) => sum + s * s, 0);
  let base = new Float64Array(d), started = null, atMean = false;
  const example = counter({name: "example", label: "Next example", count: model.examples.length, value: Math.min(7, model.examples.length - 1), changed});
  const sliders = Array.from({length: n}, (_, i) => slider({
    name: `c${i + 1}`, label: `Component ${i + 1}`, min: -REACH_OF_SLIDERS, max: REACH_OF_SLIDERS, step: 0.05, value: 0, changed,
    format: (x) => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(2)}`,
  }));
  const cells = sliders.map((one, i) => {
    const part = picture(model, `component ${i + 1}`), share = (100 * deviation[i] ** 2) / total;
    paintSigned(part, model, scale.map((s, j) => s * components[i * D + j]));
    describe(part, `Component ${i + 1}, ${share.toFixed(1)} % of the variance that the components keep`);
    return element("div", {class: "component"}, part, one.element);
  });
  const start = (latent) => {
    base = latent;
    sliders.forEach((one, i) => { one.value = deviation[i] > 0 ? Math.round((20 * latent[i]) / deviation[i]) / 20 : 0; });
  };
  const toMean = () => { start(new Float64Array(d)); atMean = true; };
  const mean = button("Mean", () => { toMean(); changed(); });
  // an address may give components after an example, and none without it
  example.take = ((take) => (text) => { take.call(example, text); begin(); })(example.take);
  const begin = () => { started = example.value; atMean = false; start(encode(model, model.examples[started])); };
  begin();

  return {
    heading: "Slide the principal components",
    text: `The picture is the mean of the training images plus a weighted sum of components, which ${model.channels === 3 ? "are shown about grey" : "add where they are orange and take away where they are blue"}. The sliders set the ${n} largest of ${d} weights in standard deviations; the others stay as they are.`,
    formula: "x = mean + s Σᵢ zᵢ vᵢ      vᵢ: eigenvectors of the covariance of the pixels",
    fields: [example, ...sliders],
    body: [
      element("div", {class: "pad"}, canvas, element("div", {class: "buttons"}, mean, example.element)),
      element("div", {class: "components wide"}, ...cells),
    ],
    update() {
      if (started !== example.value) begin();
      const latent = Float64Array.from(base);
      sliders.forEach((one, i) => { latent[i] = moved(one, base[i], deviation[i]); });
      paint(canvas, model, decode(model, latent));
      const text = `${atMean ? "The mean" : `Example ${started + 1}`}, component 1 at ${sliders[0].input.getAttribute("aria-valuetext")} standard deviations`;
      describe(canvas, text);
      announce(text);
    },
  };
}

/** Return the weight of a slider; the exact one that it stands for where it was not moved. */
function moved(one, weight, deviation) {
  return Math.abs(one.value - weight / deviation) <= 0.026 ? weight : one.value * deviation;
}
