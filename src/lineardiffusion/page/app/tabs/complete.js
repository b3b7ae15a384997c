// Complete: pixels that are seen, and draws of the hidden ones from their exact posterior,
//
//     p(hidden | seen) = sum_k p(k | seen) p(hidden | seen, k),      p(k | seen) ~ p(k) N(seen; m_k, C_k)
//
// with the same random numbers for every picture that is drawn, so that draws change smoothly while one draws.

import {generator} from "../numerics/random.js";
import {Posterior} from "../model/posterior.js";
import {announce, box, element, setText, shown} from "../ui/dom.js";
import {bars, verdict} from "../ui/bars.js";
import {choice, counter} from "../ui/controls.js";
import {captioned, describe, paint, picture} from "../ui/pictures.js";
import {drawing} from "./drawing.js";

const COMPLETIONS = 10;
const PAINTED = [undefined, "painted by hand"]; // no link can say what was painted

/** Rules of which pixel (x, y) of an image of a width and a height is hidden. */
const PARTS = {
  "lower half": (x, y, w, h) => y >= h / 2,
  "upper half": (x, y, w, h) => y < h / 2,
  "right half": (x, y, w) => x >= w / 2,
  "left half": (x, y, w) => x < w / 2,
  "lower right quarter": (x, y, w, h) => x >= w / 2 && y >= h / 2,
  "centre": (x, y, w, h) => Math.abs(x + 0.5 - w / 2) <= w / 4 && (h === 1 || Math.abs(y + 0.5 - h / 2) <= h / 4),
};

export function completeTab(model, changed) {
  const masks = masksOf(model), parts = Object.keys(masks);
  let posterior = null;
  const drawn = (what) => {
    if (what === "mask") {
      posterior = null;
      if (hidden.value !== undefined) hidden.setOptions([...parts, PAINTED], undefined);
    }
    changed();
  };
  const own = drawing(model, {
    label: "the picture that is seen in part", tools: ["Draw", "Erase", "Hide", "Show"], changed: drawn,
  });
  const {pad, example} = own;
  const hidden = choice({
    name: "hidden", label: "Hidden part", options: parts, value: parts[0], changed, set: () => maskPart(),
  });
  const draws = counter({name: "draws", label: "Other draws", changed});
  const results = bars(model), sentence = element("p", {class: "verdict"});
  const cells = Array.from({length: COMPLETIONS}, () => (
    {canvas: picture(model, "completion"), caption: element("span")}));

  const maskPart = () => {
    if (hidden.value === undefined) return;
    posterior = null;
    hidden.setOptions(parts, hidden.value);
    pad.mask.set(masks[hidden.value]);
  };
  maskPart();
  posterior = posteriorOf(model, pad.mask);
  example.value = example.initial = mostAmbiguous(model, posterior);

  return {
    heading: "Complete a picture",
    text: `The model completes your drawing: ${COMPLETIONS} pictures are draws of the hidden, chequered pixels. `
      + "The bars show the probability of each prompt, given the visible pixels alone.",
    formula: ["p(hidden | seen) = Σₖ p(k | seen) p(hidden | seen, k)", "p(k | seen) ∝ p(k) N(seen; mₖ, Cₖ)"],
    fields: [hidden, example, draws],
    body: [
      own.element,
      box("wide",
        box("line", hidden.element, draws.element),
        box("pictures five", ...cells.map(({canvas, caption}) => captioned(canvas, caption)))),
      box("results", sentence, results.element),
    ],
    update() {
      own.begin();
      pad.show(`${own.title()}, hidden: ${hidden.text}`);
      if (pad.unfinished) return; // a posterior of another mask takes longer than a frame
      posterior = posterior ?? posteriorOf(model, pad.mask);
      const {probabilities} = posterior.observe(pad.image), text = verdict(model, probabilities);
      const random = generator(draws.value + 1);
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

/** Return masks (D,), 1 where a pixel is hidden: of the parts that hide some pixels but not all, and two more. */
function masksOf({D, width, height, channels}) {
  const masks = Object.entries(PARTS).map(([name, rule]) => [name, Uint8Array.from({length: D}, (_, j) => {
    const i = Math.floor(j / channels);
    return rule(i % width, Math.floor(i / width), width, height) ? 1 : 0;
  })]);
  const some = masks.filter(([, mask]) => new Set(mask).size === 2);
  const all = (value) => new Uint8Array(D).fill(value);
  return Object.fromEntries([...some, ["nothing", all(0)], ["everything", all(1)]]);
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
