// Controls with a name, a value and a label. A field is `{name, element, value, initial, take(text)}`: `take` sets
// the value from the text of a link, and leaves it where the text means nothing. `set` is called whenever the value
// was set, and `changed` after the user did it.

import {element, freshId, setText} from "./dom.js";

const LOG_STEPS = 200; // of a slider whose numbers are spaced evenly in their logarithms

/** Return a field of a range of numbers; `scale: "log"` spaces them evenly in their logarithms. */
export function slider({name, label, min, max, step = 1, value, changed, scale = "linear", format = String}) {
  const id = freshId(name), log = scale === "log", count = log ? LOG_STEPS : Math.round((max - min) / step);
  const at = (i) => rounded(log ? min * (max / min) ** (i / count) : min + i * step);
  const place = (x) => {
    const i = log ? (count * Math.log(x / min)) / Math.log(max / min) : (x - min) / step;
    return Math.min(count, Math.max(0, Math.round(i)));
  };
  const input = element("input", {type: "range", id, min: 0, max: count, step: 1});
  const output = element("output", {for: id});
  let current = value;
  const show = () => {
    const text = format(current);
    setText(output, text);
    input.setAttribute("aria-valuetext", text);
    input.value = place(current);
  };
  input.addEventListener("input", () => { current = at(Number(input.value)); show(); changed(); });
  show();
  const own = {
    name, input, initial: value,
    element: element("div", {class: "field range"}, element("label", {for: id}, label), output, input),
    get text() { return format(current); },
    get value() { return current; },
    set value(x) { current = Math.min(max, Math.max(min, x)); show(); },
    take(text) {
      const x = Number(text);
      if (text.trim() !== "" && Number.isFinite(x)) own.value = log ? x : at(place(x));
    },
  };
  return own;
}

/** Return x with six digits, which hides the rounding of sums. */
function rounded(x) {
  return Number(x.toPrecision(6));
}

/** Return a field of one of some options, `[value, text]` or texts. */
export function choice({name, label, options, value, changed, set = () => {}}) {
  const id = freshId(name), select = element("select", {id, change: () => { set(); changed(); }});
  let values = [];
  const pick = (i) => {
    if (i >= 0) select.selectedIndex = i;
    set();
  };
  const own = {
    name, initial: value,
    element: element("div", {class: "field"}, element("label", {for: id}, label), select),
    get value() { return values[select.selectedIndex]; },
    set value(x) { pick(values.indexOf(x)); },
    get text() { return select.options[select.selectedIndex].text; },
    take(text) { pick(values.findIndex((x) => x !== null && String(x) === text)); },
    setOptions(list, chosen) {
      const pairs = list.map((one) => (Array.isArray(one) ? one : [one, one]));
      values = pairs.map(([x]) => x);
      select.replaceChildren(...pairs.map(([, text]) => element("option", {}, text)));
      select.selectedIndex = Math.max(0, values.indexOf(chosen));
    },
  };
  own.setOptions(options, value);
  return own;
}

/** Return a group of radio buttons, all of whose options `[value, text]` are seen; the first is chosen. */
export function radios({name, label, options, changed}) {
  const group = freshId(name);
  const inputs = options.map(([key], i) => (
    element("input", {type: "radio", name: group, id: freshId(key), checked: i === 0, change: changed})));
  const items = options.map(([, text], i) => (
    element("label", {class: "segment", for: inputs[i].id}, inputs[i], element("span", {}, text))));
  return {
    element: element("fieldset", {class: "segments"}, element("legend", {}, label), element("div", {}, ...items)),
    get value() { return options[inputs.findIndex((input) => input.checked)][0]; },
  };
}

/** Return a button. */
export function button(label, action) {
  return element("button", {type: "button", click: action}, label);
}

/** Return a field of a number that a button counts up, from 0 and modulo `count`. */
export function counter({name, label, count = 1000, value = 0, changed, set = () => {}}) {
  let current = value;
  const own = {
    name, initial: value,
    element: button(label, () => { own.value = (current + 1) % count; changed(); }),
    get value() { return current; },
    set value(x) { current = x; set(); },
    take(text) { if (/^\d+$/.test(text)) own.value = Number(text) % count; },
  };
  return own;
}
