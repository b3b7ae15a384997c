// The choice of a symbol: a prompt and, where the model has styles, one of its styles, the most frequent first.

import {shown} from "../ui/dom.js";
import {choice} from "../ui/controls.js";
import {percent} from "../ui/bars.js";

/** Return the symbols of a prompt (its place) that have a weight, the most frequent first, with their shares of it. */
export function stylesOf(model, prompt) {
  const own = Array.from(model.symbols.keys()).filter((k) => model.symbols[k].prompt === prompt && model.symbols[k].weight > 0);
  const total = own.reduce((sum, k) => sum + model.symbols[k].weight, 0);
  return own.map((symbol) => ({symbol, style: model.symbols[symbol].style, share: model.symbols[symbol].weight / total}))
    .sort((a, b) => b.share - a.share);
}

/** Return the prompts that have a symbol of some weight. */
export function promptsInUse(model) {
  const used = new Set(model.symbols.filter((one) => one.weight > 0).map((one) => one.prompt));
  return model.prompts.filter((_, u) => used.has(u));
}

/** Return the fields of a prompt and of a style, `fields`, and the symbol that they name. */
export function symbolFields(model, changed, first = 0) {
  const prompts = promptsInUse(model), start = prompts[Math.min(first, prompts.length - 1)];
  const styles = () => stylesOf(model, model.prompts.indexOf(prompt.value));
  const refresh = () => style && style.setOptions(styles().map((one) => [one.style, `${one.style} (${percent(one.share)})`]), styles()[0].style);
  const prompt = choice({name: "prompt", label: "Prompt", options: prompts.map((one) => [one, shown(one)]), value: start, changed: () => { refresh(); changed(); }});
  const style = model.hasStyles ? choice({name: "style", label: "Style", options: [], value: null, changed}) : null;
  const take = prompt.take;
  prompt.take = (text) => { take(text); refresh(); };
  refresh();
  return {
    prompt, style, fields: style ? [prompt, style] : [prompt],
    get symbol() { return styles().find((one) => !style || one.style === style.value).symbol; },
  };
}
