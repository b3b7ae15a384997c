// Plane: points of the plane under a mixture of Gaussians that the library fitted. Noise of the level t moves them to
// x = alpha(t) z + sigma(t) n; the score points from there towards the data, and samplers follow it back.
//
//     score(x) = grad log p_t(x) = (alpha D(x) - x) / sigma^2

import {generator} from "../numerics/random.js";
import {pathsOf, score} from "../model/plane.js";
import {courseOf, isStochastic, SAMPLERS} from "../model/samplers.js";
import {schedule} from "../model/schedules.js";
import {announce, element, setText} from "../ui/dom.js";
import {choice, counter, slider} from "../ui/controls.js";
import {describe} from "../ui/pictures.js";

const REACH = 2.8, PATHS = 40, GRID = 15, LEAST = 0.01; // units of the plane; least level of noise of the field
const SCHEDULE = "cosine";

export function planeTab(sets, changed) {
  const names = Object.keys(sets), kinds = (name) => Object.keys(sets[name].mixtures).map((k) => [k, k === "1" ? "1 Gaussian" : `${k} Gaussians`]);
  const set = choice({name: "points", label: "Points", options: names, value: names[0], changed: () => { refresh(); changed(); }});
  const number = choice({name: "gaussians", label: "Number of Gaussians", options: kinds(names[0]), value: "40", changed});
  const sampler = choice({name: "sampler", label: "Sampler", options: SAMPLERS.filter((name) => name !== "one_step"), value: "ddim", changed});
  const steps = slider({name: "steps", label: "Steps", min: 1, max: 40, value: 12, changed});
  const time = slider({name: "t", label: "Noise level t", min: 0, max: 1, step: 0.01, value: 0.2, changed, format: (t) => t.toFixed(2)});
  const noise = counter({name: "noise", label: "Other noise", changed});
  const canvas = element("canvas", {role: "img", class: "plane", "aria-label": "the plane"}), sentence = element("p", {class: "verdict"});
  const refresh = () => number.setOptions(kinds(set.value), kinds(set.value).some(([k]) => k === number.value) ? number.value : kinds(set.value).at(-1)[0]);
  const take = set.take;
  set.take = (text) => { take.call(set, text); refresh(); };
  let paths = null, key = "";
  const width = () => Math.round(canvas.clientWidth * (globalThis.devicePixelRatio || 1));
  new ResizeObserver(() => { if (canvas.clientWidth > 0 && canvas.width !== width()) changed(); }).observe(canvas);

  const computePaths = (mixture) => {
    const own = [set.value, number.value, sampler.value, steps.value, noise.value].join(" ");
    if (own === key) return;
    key = own;
    const random = generator(41 + noise.value), points = Array.from({length: PATHS}, () => random.normals(2));
    paths = pathsOf(mixture, points, sampler.value, steps.value, {scheduleName: SCHEDULE, noise: isStochastic(sampler.value) ? random.normal : null});
  };

  return {
    heading: "Watch noise become points",
    text: "A sampler takes points from pure noise (t = 1) along the score to the data (t = 0): move the noise level and watch them. One Gaussian has a linear score and keeps only the mean and the covariance of the data; more Gaussians follow its shape.",
    formula: "x = α z + σ n      score = ∇ log p(x) = (α D(x) − x) / σ²      α = cos(πt/2), σ = sin(πt/2)",
    fields: [set, number, sampler, steps, time, noise],
    body: [
      element("div", {class: "side"}, time.element, set.element, number.element, sampler.element, steps.element, noise.element),
      canvas,
      element("div", {class: "side"}, sentence, element("ul", {class: "legend"},
        element("li", {}, element("i", {class: "key dot"}), "data"),
        element("li", {}, element("i", {class: "key arrow"}), "score of the data with noise of this level"),
        element("li", {}, element("i", {class: "key path"}), "paths down to this level"),
        element("li", {}, element("i", {class: "key now"}), "points at this level"))),
    ],
    update() {
      const {points, mixtures} = sets[set.value], mixture = mixtures[number.value], t = time.value, [alpha, sigma] = schedule(SCHEDULE).at(t);
      computePaths(mixture);
      const {times} = courseOf(sampler.value, SCHEDULE, steps.value), size = width() || 600;
      canvas.width = canvas.height = size;
      const context = canvas.getContext("2d"), unit = size / (2 * REACH), place = ([x, y]) => [(x + REACH) * unit, (REACH - y) * unit];
      const style = getComputedStyle(canvas), colour = (name) => style.getPropertyValue(name), dot = ([x, y], radius) => {
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.fill();
      };
      context.fillStyle = colour("--points");
      for (const point of points) dot(place(point), 0.022 * unit);
      drawField(context, mixture, t, unit, place, colour("--field"));
      const now = drawPaths(context, paths, times, t, unit, place, colour("--accent"));
      context.fillStyle = colour("--accent");
      for (const point of now) dot(place(point), 0.055 * unit);
      const text = `${PATHS} paths of ${sampler.value} with ${steps.value} step${steps.value > 1 ? "s" : ""}, at t = ${t.toFixed(2)}, where α = ${alpha.toFixed(2)} and σ = ${sigma.toFixed(2)}`;
      setText(sentence, text);
      describe(canvas, `${set.value}, ${number.value} Gaussian${number.value === "1" ? "" : "s"}: ${text}`);
      announce(text);
    },
  };
}

/** Draw the score as arrows, whose lengths are compressed so that strong and weak ones are seen. */
function drawField(context, mixture, t, unit, place, colour) {
  const [alpha, sigma] = schedule(SCHEDULE).at(Math.max(t, LEAST)), gap = (2 * REACH) / GRID;
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 0.014 * unit;
  context.globalAlpha = 0.7;
  for (let i = 0; i < GRID; i++) {
    for (let j = 0; j < GRID; j++) {
      const x = [(i + 0.5) * gap - REACH, (j + 0.5) * gap - REACH], s = score(mixture, x, alpha, sigma), norm = Math.hypot(...s);
      if (!(norm > 1e-9)) continue;
      const length = (0.85 * gap * norm) / (norm + 1), step = [(s[0] / norm) * length, (s[1] / norm) * length];
      drawArrow(context, place([x[0] - step[0] / 2, x[1] - step[1] / 2]), place([x[0] + step[0] / 2, x[1] + step[1] / 2]), 0.075 * unit);
    }
  }
  context.globalAlpha = 1;
}

function drawArrow(context, [x0, y0], [x1, y1], head) {
  const angle = Math.atan2(y1 - y0, x1 - x0), wing = Math.min(head, 0.7 * Math.hypot(x1 - x0, y1 - y0));
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
  context.beginPath();
  context.moveTo(x1, y1);
  for (const side of [-1, 1]) context.lineTo(x1 - wing * Math.cos(angle + side * 0.45), y1 - wing * Math.sin(angle + side * 0.45));
  context.fill();
}

/** Draw the paths from the first time down to t, straight between steps, and return where they are at t. */
function drawPaths(context, states, times, t, unit, place, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 0.03 * unit;
  context.globalAlpha = 0.6;
  const now = states[0].map((_, i) => {
    let at = states[0][i];
    context.beginPath();
    context.moveTo(...place(at));
    for (let k = 1; k < times.length && times[k - 1] > t; k++) {
      const share = Math.min(1, (times[k - 1] - t) / (times[k - 1] - times[k])), [a, b] = [states[k - 1][i], states[k][i]];
      at = [a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])];
      context.lineTo(...place(at));
    }
    context.stroke();
    return at;
  });
  context.globalAlpha = 1;
  return now;
}
