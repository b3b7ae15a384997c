// Probabilities of the prompts as bars with numbers: of all prompts in their order, or of the ten likeliest where
// there are more than ten.

import {element, setText, shown} from "./dom.js";

const MOST_BARS = 10, LONG = 4; // bars; letters of a prompt that stands above its bar

/** Return a list of bars: its `element`, and `show(probabilities)`. */
export function bars(model) {
  const {prompts} = model, all = prompts.length <= MOST_BARS, rows = [];
  const list = element("ul", {class: prompts.some((one) => one.length > LONG) ? "bars long" : "bars"});
  const head = element("h3", {}, all ? "Probabilities" : `Likeliest of ${prompts.length} prompts`);
  for (let i = 0; i < Math.min(MOST_BARS, prompts.length); i++) {
    const name = element("span", {class: "name"}), bar = element("i"), value = element("b");
    rows.push({name, bar, value});
    list.append(element("li", {}, name, element("span", {class: "track", "aria-hidden": "true"}, bar), value));
  }
  const own = element("section", {class: "probabilities", hidden: prompts.length === 1}, head, list);
  return {
    element: own,
    show(probabilities) {
      own.hidden = !probabilities || prompts.length === 1;
      if (own.hidden) return;
      const order = all ? Array.from(prompts.keys()) : ranked(probabilities).slice(0, MOST_BARS);
      order.forEach((u, i) => {
        const {name, bar, value} = rows[i];
        setText(name, shown(prompts[u]));
        bar.style.width = `${(100 * probabilities[u]).toFixed(2)}%`;
        setText(value, percent(probabilities[u]));
      });
    },
  };
}

/** Return the places of numbers, the largest first. */
export function ranked(numbers) {
  return Array.from(numbers.keys()).sort((a, b) => numbers[b] - numbers[a]);
}

/** Return a probability as text. */
export function percent(p) {
  return `${(100 * p).toFixed(1)}\u00a0%`; // on one line
}

/** Return the sentence that names the likeliest prompt. */
export function verdict(model, probabilities) {
  if (model.prompts.length === 1) return "";
  const [best] = ranked(probabilities);
  return `Likeliest prompt: ${shown(model.prompts[best])}, ${percent(probabilities[best])}`;
}
