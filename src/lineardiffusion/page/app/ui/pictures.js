// Pictures: an image is painted into a canvas with a pixel for each of its own. What is not an image, such as a
// vector, is a strip of one row. Pictures with a sign, such as components and scores, are white at 0, orange above,
// blue below.

import {element} from "./dom.js";

const ABOVE = [201, 84, 0], BELOW = [20, 84, 176];
const HIDDEN = [[70, 92, 128], [88, 112, 150]]; // a chequer of two blues

/** Return an empty picture of a model. */
export function picture(model, label) {
  const {width, height, isImage} = model;
  const name = isImage ? "picture" : "picture strip";
  const canvas = element("canvas", {width, height, role: "img", "aria-label": label, class: name});
  if (isImage) canvas.style.aspectRatio = `${width} / ${height}`;
  fitHeight(canvas, model);
  return canvas;
}

/** Make what holds a picture narrower where the picture is tall, so that it is no higher than a square one. */
export function fitHeight(holder, {isImage, width, height}) {
  if (isImage && height > width) holder.style.width = `${(100 * width) / height}%`;
}

/** Return a picture with a caption below it. */
export function captioned(canvas, ...caption) {
  return element("figure", {}, canvas, element("figcaption", {}, ...caption));
}

/** Set the label of a picture. */
export function describe(canvas, label) {
  if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
}

/** Paint an image (D,); where `mask` is 1 it is hidden by a chequer. */
export function paint(canvas, model, image, mask = null) {
  const {low, high, channels, width, height} = model, gain = 255 / (high - low || 1);
  withPixels(canvas, (data) => {
    for (let i = 0, j = 0, o = 0; i < width * height; i++, j += channels, o += 4) {
      if (mask && mask[j]) {
        data.set(HIDDEN[((i % width) + Math.floor(i / width)) % 2], o);
      } else {
        for (let c = 0; c < 3; c++) data[o + c] = gain * (image[j + (channels === 3 ? c : 0)] - low);
      }
      data[o + 3] = 255;
    }
  });
}

/** Paint numbers with a sign, the largest of which has the full colour; of three channels, about grey. */
export function paintSigned(canvas, model, values) {
  const {channels, width, height} = model, top = values.reduce((a, b) => Math.max(a, Math.abs(b)), 0) || 1;
  withPixels(canvas, (data) => {
    for (let i = 0, j = 0, o = 0; i < width * height; i++, j += channels, o += 4) {
      if (channels === 3) {
        for (let c = 0; c < 3; c++) data[o + c] = 127.5 * (1 + values[j + c] / top);
      } else {
        const share = Math.abs(values[j]) / top, end = values[j] < 0 ? BELOW : ABOVE;
        for (let c = 0; c < 3; c++) data[o + c] = 255 + share * (end[c] - 255);
      }
      data[o + 3] = 255;
    }
  });
}

function withPixels(canvas, write) {
  const context = canvas.getContext("2d"), pixels = context.createImageData(canvas.width, canvas.height);
  write(pixels.data);
  context.putImageData(pixels, 0, 0);
}
