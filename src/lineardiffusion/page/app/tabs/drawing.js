// What a drawing area is drawn with: its tools, and a colour where the pictures have colours.

import {element, freshId} from "../ui/dom.js";
import {radios} from "../ui/controls.js";

/** Return the controls of a drawing area with some tools, by their labels. */
export function drawingTools(model, pad, labels) {
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
