// Elements of the page. Text enters as text nodes and attributes as attributes, so that no prompt is read as HTML.

const SVG = "http://www.w3.org/2000/svg";
let serial = 0;

/** Return an element with attributes (functions are listeners, null omits one) and children (text or nodes). */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Return a block of a class with children. */
export function box(name, ...children) {
  return element("div", {class: name}, ...children);
}

/** Return an element of SVG. */
export function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** Return an id that no other element has. */
export function freshId(name) {
  return `${name}-${++serial}`;
}

/** Set the text of an element where it differs. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Return what a prompt is shown as: itself, or words in its place where it is empty. */
export function shown(prompt) {
  return prompt.trim() === "" ? "(empty prompt)" : prompt;
}

let announcing = 0;

/** Tell a sentence to readers of the screen, once the picture has been still for a while. */
export function announce(text) {
  clearTimeout(announcing);
  announcing = setTimeout(() => setText(document.getElementById("live"), text), 400);
}
