// A drawing that begins as an example: its area, its tools, and a colour where the pictures have colours.

import {box, element, freshId} from "../ui/dom.js";
import {button, counter, radios} from "../ui/controls.js";
import {sketch} from "../ui/sketch.js";

/**
 * Return a drawing with tools, by their labels: its `element`, the `pad` of ui/sketch.js, the field `example`, and
 * `title()`. `begin()` copies an example that was chosen since it was last called, and `changed(what)` is the
 * sketch's.
 */
export function drawing(model, {label, tools, value = 0, changed}) {
  const {examples} = model, last = examples.length - 1;
  let begun = false, drawnOver = false;
  const pad = sketch(model, label, (what) => {
    if (what === "image") drawnOver = true;
    changed(what);
  });
  const example = counter({
    name: "example", label: "Next example", count: last + 1, value: Math.min(value, last),
    changed: () => changed("image"), set: () => { begun = false; },
  });
  const clear = button("Clear", () => {
    drawnOver = true;
    pad.clear();
    changed("image");
  });
  return {
    pad, example,
    element: box("pad", pad.element, ...toolsOf(model, pad, tools), box("buttons", clear, example.element)),
    title: () => (drawnOver ? "Your drawing" : `Example ${example.value + 1}`),
    begin() {
      if (begun) return;
      begun = true;
      drawnOver = false;
      pad.image.set(examples[example.value]);
    },
  };
}

function toolsOf(model, pad, labels) {
  const options = labels.map((label) => [label.toLowerCase(), label]);
  const tool = radios({name: "tool", label: "Tool", options, changed: () => { pad.tool = tool.value; }});
  if (model.channels !== 3) return [tool.element];
  const id = freshId("colour"), input = element("input", {type: "color", id, value: "#e0a030"});
  const take = () => {
    const code = parseInt(input.value.slice(1), 16), {low, high} = model;
    pad.ink = [code >> 16, (code >> 8) & 255, code & 255].map((byte) => low + (byte / 255) * (high - low));
  };
  input.addEventListener("input", take);
  take();
  return [tool.element, element("div", {class: "field"}, element("label", {for: id}, "Colour"), input)];
}
