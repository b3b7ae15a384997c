// Complete: pixels that are seen, and draws of the hidden ones from their exact posterior,
//
//     p(hidden | seen) = sum_k p(k | seen) p(hidden | seen, k),      p(k | seen) ~ p(k) N(seen; m_k, C_k)
//
// with the same random numbers for every picture that is drawn, so that draws change smoothly while one draws.

import {generator} from "../numerics/random.js";
import {Posterior} from "../model/posterior.js";
import {announce, box, element, setText, shown} from "../ui/dom.js";
import {bars, verdict} from "../ui/bars.js";
import {button, choice, counter} from "../ui/controls.js";
import {captioned, describe, paint, picture} from "../ui/pictures.js";
import {sketch} from "../ui/sketch.js";
import {drawingTools} from "./drawing.js";

const COMPLETIONS = 10;
const PAINTED = "painted by hand", OF_STRIPS = ["right half", "left half", "centre", "nothing", "everything"];

/** Rules of which pixel (x, y) of an image of a width and a height is hidden. */
const PARTS = {
  "lower half": (x, y, w, h) => y >= h / 2,
  "upper half": (x, y, w, h) => y < h / 2,
  "right half": (x, y, w) => x >= w / 2,
  "left half": (x, y, w) => x < w / 2,
  "lower right quarter": (x, y, w, h) => x >= w / 2 && y >= h / 2,
  "centre": (x, y, w, h) => Math.abs(x + 0.5 - w / 2) <= w / 4 && (h === 1 || Math.abs(y + 0.5 - h / 2) <= h / 4),
  "nothing": () => false,
  "everything": () => true,
};

export function completeTab(model, changed) {
  const parts = model.isImage ? Object.keys(PARTS) : OF_STRIPS;
  let posterior = null, started = -1, drawnOver = false;
  const pad = sketch(model, "the picture that is seen in part", (what) => {
    if (what === "mask") { posterior = null; hidden.setOptions([...parts, PAINTED], PAINTED); }
    else drawnOver = true;
    changed();
  });
  const hidden = choice({
    name: "hidden", label: "Hidden part", options: parts, value: parts[0], changed: () => { maskPart(); changed(); },
  });
  const example = counter({name: "example", label: "Next example", count: model.examples.length, changed});
  const draws = counter({name: "draws", label: "Other draws", changed});
  const tools = drawingTools(model, pad, ["Draw", "Erase", "Hide", "Show"]);
  const clear = button("Clear", () => { drawnOver = true; pad.clear(); changed(); });
  const results = bars(model), sentence = element("p", {class: "verdict"});
  const cells = Array.from({length: COMPLETIONS}, () => ({canvas: picture(model, "completion"), caption: element("span")}));

  const maskPart = () => {
    const rule = PARTS[hidden.value], {width, height, channels} = model;
    posterior = null;
    if (!rule) return;
    hidden.setOptions(parts, hidden.value);
    for (let j = 0; j < model.D; j++) {
      const i = Math.floor(j / channels);
      pad.mask[j] = rule(i % width, Math.floor(i / width), width, height) ? 1 : 0;
    }
  };
  const takeHidden = hidden.take;
  hidden.take = (text) => { takeHidden(text); maskPart(); };
  maskPart();
  posterior = posteriorOf(model, pad.mask);
  example.value = example.initial = mostAmbiguous(model, posterior);

  return {
    heading: "Complete a picture",
    text: `You draw a part, and the model completes it: the chequered pixels are hidden, and the ${COMPLETIONS} pictures `
      + "are draws of what they may be. The bars say how probable each prompt is, given the visible pixels alone.",
    formula: ["p(hidden | seen) = Σₖ p(k | seen) p(hidden | seen, k)", "p(k | seen) ∝ p(k) N(seen; mₖ, Cₖ)"],
    fields: [hidden, example, draws],
    body: [
      box("pad", pad.element, ...tools, box("buttons", clear, example.element)),
      box("wide",
        box("line", hidden.element, draws.element),
        box("pictures five", ...cells.map(({canvas, caption}) => captioned(canvas, caption)))),
      box("results", sentence, results.element),
    ],
    update() {
      if (started !== example.value) {
        started = example.value;
        drawnOver = false;
        pad.image.set(model.examples[started]);
      }
      posterior = posterior ?? posteriorOf(model, pad.mask);
      const {probabilities} = posterior.observe(pad.image), text = verdict(model, probabilities);
      const random = generator(draws.value + 1);
      pad.show(`${drawnOver ? "Your drawing" : `Example ${started + 1}`}, hidden: ${hidden.value}`);
      results.show(probabilities);
      setText(sentence, text);
      announce(text);
      for (const [i, {canvas, caption}] of cells.entries()) {
        const {image, prompt} = posterior.draw(random.uniform, random.normal), name = shown(model.prompts[prompt]);
        paint(canvas, model, image);
        describe(canvas, `Completion ${i + 1} of ${COMPLETIONS}: ${name}`);
        if (model.prompts.length > 1) setText(caption, name);
      }
    },
  };
}

function posteriorOf(model, mask) {
  return new Posterior(model, mask.map((hidden) => 1 - hidden));
}

/** Return the place of the example whose visible part leaves the most doubt about its prompt, by entropy. */
function mostAmbiguous(model, posterior) {
  const entropy = (sum, p) => (p > 0 ? sum - p * Math.log(p) : sum);
  const entropies = model.examples.map((image) => posterior.observe(image).probabilities.reduce(entropy, 0));
  return entropies.indexOf(Math.max(...entropies));
}
