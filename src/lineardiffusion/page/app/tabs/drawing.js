// What a drawing area is drawn with: its tools, and a colour where the pictures have colours.

import {element, freshId} from "../ui/dom.js";
import {radios} from "../ui/controls.js";

/** Return the controls of a drawing area; `tools` are pairs of a name and its label. */
export function drawingTools(model, pad, tools) {
  const field = radios({name: "tool", label: "Tool", options: tools, value: tools[0][0], changed: () => { pad.tool = field.value; }});
  if (model.channels !== 3) return [field.element];
  const id = freshId("colour"), input = element("input", {type: "color", id, value: "#e0a030"});
  const take = () => {
    const code = parseInt(input.value.slice(1), 16), {low, high} = model;
    pad.ink = [code >> 16, (code >> 8) & 255, code & 255].map((byte) => low + (byte / 255) * (high - low));
  };
  input.addEventListener("input", take);
  take();
  return [field.element, element("div", {class: "field"}, element("label", {for: id}, "Colour"), input)];
}
