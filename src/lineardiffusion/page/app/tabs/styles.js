// Styles: the images of a prompt were clustered, and every cluster ("style") has a Gaussian of its own, which is
// drawn from by its frequency,
//
//     p(x | prompt) = sum_k p(k | prompt) N(x; m_k, C_k)

import {generator} from "../numerics/random.js";
import {drawnLaw} from "../model/gaussians.js";
import {predict} from "../model/sampling.js";
import {decode, finish} from "../model/encoder.js";
import {announce, box, element, setText, shown} from "../ui/dom.js";
import {percent} from "../ui/bars.js";
import {choice, counter} from "../ui/controls.js";
import {captioned, describe, paint, picture} from "../ui/pictures.js";
import {promptOptions, promptsInUse, stylesOf} from "./symbols.js";

const DRAWS = 10;

export function stylesTab(model, changed) {
  const prompts = promptsInUse(model), options = promptOptions(prompts);
  const value = prompts[Math.min(7, prompts.length - 1)];
  const prompt = choice({name: "prompt", label: "Prompt", options, value, changed, set: () => openBook()});
  const draws = counter({name: "draws", label: "Other draws", changed});
  const title = "Styles of the prompt, the most frequent first";
  const book = element("div", {class: "book", role: "group", "aria-label": title});
  const pictures = Array.from({length: DRAWS}, (_, i) => picture(model, `draw ${i + 1}`));
  const sentence = element("p", {class: "verdict"});
  let styles = [], chosen = 0;
  const style = {
    name: "style", initial: null,
    get value() { return chosen === 0 ? null : styles[chosen].style; }, // null is the most frequent one
    set value(k) { pick(Math.max(0, styles.findIndex((one) => one.style === k))); },
    take(text) { if (/^\d+$/.test(text)) style.value = Number(text); },
  };
  const pick = (i) => {
    chosen = i;
    Array.from(book.children).forEach((one, j) => one.setAttribute("aria-pressed", i === j));
  };
  const openBook = () => {
    styles = stylesOf(model, model.prompts.indexOf(prompt.value));
    book.replaceChildren(...styles.map(({symbol, style: k, share}, i) => {
      const canvas = picture(model, `Mean of style ${k}`), choose = () => { pick(i); changed(); };
      paint(canvas, model, decode(model, drawnLaw(model, symbol).mean));
      const text = [element("span", {}, `style ${k}`), element("span", {}, percent(share))];
      return element("button", {type: "button", class: "page-of-book", click: choose}, canvas, ...text);
    }));
    pick(0);
  };
  openBook();

  return {
    heading: "Open the style book",
    text: "Every cluster of a prompt's training images, called a style, has its own Gaussian, whose mean is shown. "
      + "Choose a style, and the pictures below are drawn from it alone.",
    formula: ["p(x | prompt) = Σₖ p(k | prompt) N(x; mₖ, Cₖ)"],
    fields: [prompt, style, draws],
    body: [
      box("wide",
        box("line", prompt.element, draws.element), book, sentence,
        box("pictures ten", ...pictures.map((one) => captioned(one)))),
    ],
    update() {
      const {symbol, style: k, share} = styles[chosen], random = generator(31 + draws.value);
      const latents = Array.from({length: DRAWS}, () => random.normals(model.d));
      for (const [i, latent] of predict(model, {symbol, latents, sampler: "exact", guidanceScale: 1}).entries()) {
        paint(pictures[i], model, finish(model, decode(model, latent), symbol));
        describe(pictures[i], `Draw ${i + 1} of ${shown(prompt.value)}, style ${k}`);
      }
      const name = shown(prompt.value);
      const text = `Ten draws of "${name}" in style ${k}, which ${percent(share)} of its images have`;
      setText(sentence, text);
      announce(text);
    },
  };
}
