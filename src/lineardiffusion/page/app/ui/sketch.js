// An image that is drawn by hand, and a mask of its hidden pixels. A stroke has a coverage c in [0, 1] of each
// pixel, the largest of its dabs, and makes (1 - c) x + c ink of the pixel x. With the keyboard, arrows move a
// cursor, Space paints where it is, and Shift with an arrow moves and paints.

import {element, freshId} from "./dom.js";
import {describe, fitHeight, paint, picture} from "./pictures.js";

const HELP = "Or draw with keys: arrows move, Space paints, Shift and an arrow paint a line.";
const MOVES = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

/**
 * Return the drawing area of a model: its `element`, the `image` (D,), the `mask` (D,), and `tool`, which the
 * caller sets to "draw", "erase", "hide" or "show". `changed(what)` is told "image" or "mask"; a mask is
 * `unfinished` until its stroke ends, when `changed` is called again.
 */
export function sketch(model, label, changed) {
  const {width, height, channels, low, high, D} = model, canvas = picture(model, label), help = freshId("help");
  const cursor = element("div", {class: "cursor", hidden: true});
  const area = element("div", {
    class: "sketch", tabindex: 0, role: "application",
    "aria-label": `Drawing area: ${label}`, "aria-describedby": help,
  }, canvas, cursor);
  fitHeight(area, model);
  canvas.style.width = "100%";
  const own = {
    image: new Float64Array(D).fill(low), mask: new Uint8Array(D), tool: "draw", ink: Array(channels).fill(high),
    element: element("div", {}, area, element("p", {class: "hint", id: help}, HELP)),
    show(text) {
      paint(canvas, model, own.image, own.mask);
      describe(canvas, text);
    },
    clear() { own.image.fill(low); },
    get unfinished() { return stroke !== null && stroke.masks; },
  };
  const radius = model.isImage ? Math.max(0.7, Math.min(width, height) / 26) : 0.5;
  let stroke = null;

  /** Begin a stroke, whose dabs cover what is drawn already; of the fingers on a screen only one draws. */
  const begin = (x, y, pointer = null) => {
    const masks = own.tool === "hide" || own.tool === "show";
    const before = Float64Array.from(own.image), coverage = new Float64Array(width * height);
    stroke = {x, y, pointer, masks, before, coverage};
    dab(x, y);
  };

  const end = () => {
    const {masks} = stroke;
    stroke = null;
    if (masks) changed("mask");
  };

  const dab = (x, y) => {
    const reach = 2.5 * radius + 1, {masks} = stroke;
    const brush = masks ? Math.max(0.5, 1.6 * radius) : radius;
    for (let i = Math.max(0, Math.floor(y - reach)); i < Math.min(height, y + reach); i++) {
      for (let j = Math.max(0, Math.floor(x - reach)); j < Math.min(width, x + reach); j++) {
        const square = (model.isImage ? (i + 0.5 - y) ** 2 : 0) + (j + 0.5 - x) ** 2, k = i * width + j;
        if (masks) {
          if (square <= brush * brush) own.mask.fill(own.tool === "hide" ? 1 : 0, k * channels, (k + 1) * channels);
          continue;
        }
        const share = Math.min(1, Math.exp(1.1 - square / (brush * brush)));
        if (share < 0.02 || share <= stroke.coverage[k]) continue;
        stroke.coverage[k] = share;
        for (let c = 0; c < channels; c++) {
          const ink = own.tool === "erase" ? low : own.ink[c], at = k * channels + c;
          own.image[at] = (1 - share) * stroke.before[at] + share * ink;
        }
      }
    }
    changed(masks ? "mask" : "image");
  };

  const line = (x, y) => {
    const {x: x0, y: y0} = stroke, n = Math.max(1, Math.ceil(2 * Math.hypot(x - x0, y - y0)));
    for (let i = 1; i <= n; i++) dab(x0 + ((x - x0) * i) / n, y0 + ((y - y0) * i) / n);
    stroke.x = x;
    stroke.y = y;
  };

  const placeOf = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  };
  area.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || stroke !== null) return;
    area.setPointerCapture(event.pointerId);
    cursor.hidden = true;
    begin(...placeOf(event), event.pointerId);
  });
  area.addEventListener("pointermove", (event) => {
    if (stroke?.pointer !== event.pointerId) return;
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const one of events.length ? events : [event]) line(...placeOf(one));
  });
  for (const name of ["pointerup", "pointercancel"]) {
    area.addEventListener(name, (event) => { if (stroke?.pointer === event.pointerId) end(); });
  }

  const at = [Math.floor(width / 2), Math.floor(height / 2)];
  const showCursor = () => {
    cursor.hidden = false;
    cursor.style.left = `${(100 * at[0]) / width}%`;
    cursor.style.top = `${(100 * at[1]) / height}%`;
    cursor.style.width = `${100 / width}%`;
    cursor.style.height = `${100 / height}%`;
  };
  area.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    const theirs = event.altKey || event.ctrlKey || event.metaKey; // keys of the browser
    if ((!move && event.key !== " ") || theirs || stroke !== null) return;
    event.preventDefault();
    const from = [at[0] + 0.5, at[1] + 0.5];
    if (move) {
      at[0] = Math.min(width - 1, Math.max(0, at[0] + move[0]));
      at[1] = Math.min(height - 1, Math.max(0, at[1] + move[1]));
    }
    showCursor();
    if (!move || event.shiftKey) {
      begin(...from);
      line(at[0] + 0.5, at[1] + 0.5);
      end();
    }
  });
  area.addEventListener("focus", () => { if (area.matches(":focus-visible")) showCursor(); });
  area.addEventListener("blur", () => { cursor.hidden = true; });
  return own;
}
