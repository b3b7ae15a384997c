// The choice of a symbol: a prompt and, where the model has styles, one of its styles, the most frequent first.

import {shown} from "../ui/dom.js";
import {choice} from "../ui/controls.js";
import {percent} from "../ui/bars.js";

/** Return the symbols of a prompt (its place) that have a weight, with their shares, the most frequent first. */
export function stylesOf(model, prompt) {
  const own = Array.from(model.symbols, ({prompt: u, style, weight}, symbol) => ({symbol, u, style, weight}))
    .filter((one) => one.u === prompt && one.weight > 0);
  const total = own.reduce((sum, one) => sum + one.weight, 0);
  return own.map(({symbol, style, weight}) => ({symbol, style, share: weight / total}))
    .sort((a, b) => b.share - a.share);
}

/** Return the prompts that have a symbol of some weight. */
export function promptsInUse(model) {
  const used = new Set(model.symbols.filter((one) => one.weight > 0).map((one) => one.prompt));
  return model.prompts.filter((_, u) => used.has(u));
}

/** Return the options of a choice of prompts. */
export function promptOptions(prompts) {
  return prompts.map((one) => [one, shown(one)]);
}

/** Return the fields of a prompt and of a style, `fields`, and the `symbol` that they name. */
export function symbolFields(model, changed, first) {
  const prompts = promptsInUse(model), options = promptOptions(prompts);
  const value = prompts[Math.min(first, prompts.length - 1)];
  const prompt = choice({name: "prompt", label: "Prompt", options, value, changed, set: () => refresh()});
  const style = model.hasStyles ? choice({name: "style", label: "Style", options: [], value: null, changed}) : null;
  const styles = () => stylesOf(model, model.prompts.indexOf(prompt.value));
  const refresh = () => {
    if (!style) return;
    const own = styles();
    style.initial = own[0].style;
    style.setOptions(own.map((one) => [one.style, `${one.style} (${percent(one.share)})`]));
  };
  refresh();
  return {
    fields: style ? [prompt, style] : [prompt],
    get symbol() { return styles().find((one) => !style || one.style === style.value).symbol; },
  };
}
