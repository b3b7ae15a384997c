// Controls with a name, a value and a label. A field is `{name, element, value, initial, take(text)}`: `take` sets the
// value from the text of a link, and leaves it where the text means nothing.

import {element, freshId, setText} from "./dom.js";

/** Return a field of a range of numbers; `scale: "log"` spaces them evenly in their logarithms. */
export function slider({name, label, min, max, step = 1, value, changed, scale = "linear", format = String}) {
  const id = freshId(name), log = scale === "log", count = log ? 200 : Math.round((max - min) / step);
  const at = (i) => (log ? round(min * (max / min) ** (i / count)) : round(min + i * step));
  const place = (x) => Math.min(count, Math.max(0, Math.round(log ? (count * Math.log(x / min)) / Math.log(max / min) : (x - min) / step)));
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
  return {
    name, input, initial: value,
    element: element("div", {class: "field range"}, element("label", {for: id}, label), output, input),
    get value() { return current; },
    set value(x) { current = Math.min(max, Math.max(min, x)); show(); },
    take(text) { if (text.trim() !== "" && Number.isFinite(Number(text))) this.value = log ? Number(text) : at(place(Number(text))); },
  };
}

/** Return x with six digits, which hides the rounding of sums. */
function round(x) {
  return Number(x.toPrecision(6));
}

/** Return a field of one of some options, `[value, text]` or texts. */
export function choice({name, label, options, value, changed}) {
  const id = freshId(name), select = element("select", {id}), control = element("div", {class: "field"}, element("label", {for: id}, label), select);
  let values = [];
  const field = {
    name, element: control, initial: value,
    get value() { return values[select.selectedIndex]; },
    set value(x) { const i = values.indexOf(x); if (i >= 0) select.selectedIndex = i; },
    take(text) { const i = values.findIndex((x) => String(x) === text); if (i >= 0) select.selectedIndex = i; },
    setOptions(list, chosen) {
      values = list.map((one) => (Array.isArray(one) ? one[0] : one));
      select.replaceChildren(...list.map((one) => element("option", {}, Array.isArray(one) ? one[1] : one)));
      select.selectedIndex = Math.max(0, values.indexOf(chosen));
    },
  };
  field.setOptions(options, value);
  select.addEventListener("change", changed);
  return field;
}

/** Return a field of one of a few options, all of which are seen: a group of radio buttons. */
export function radios({name, label, options, value, changed}) {
  const group = freshId(name), inputs = options.map(([key]) => element("input", {type: "radio", name: group, id: freshId(key), checked: key === value, change: changed}));
  const items = options.map(([, text], i) => element("label", {class: "segment", for: inputs[i].id}, inputs[i], element("span", {}, text)));
  const index = () => inputs.findIndex((input) => input.checked);
  return {
    name, initial: value,
    element: element("fieldset", {class: "segments"}, element("legend", {}, label), element("div", {}, ...items)),
    get value() { return options[index()][0]; },
    set value(x) { options.forEach(([key], i) => { if (key === x) inputs[i].checked = true; }); },
    take(text) { this.value = text; },
  };
}

/** Return a button. */
export function button(label, action) {
  return element("button", {type: "button", click: action}, label);
}

/** Return a field of a number that a button counts up, from 0 and modulo `count`. */
export function counter({name, label, count = 1000, value = 0, changed}) {
  let current = value;
  return {
    name, initial: value,
    element: button(label, () => { current = (current + 1) % count; changed(); }),
    get value() { return current; },
    set value(x) { current = x; },
    take(text) { if (/^\d+$/.test(text)) current = Number(text) % count; },
  };
}
