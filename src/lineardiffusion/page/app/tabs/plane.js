// Plane: points of the plane under a mixture of Gaussians that the library fitted. Noise of the level t moves them
// to x = alpha(t) z + sigma(t) n; the score points from there towards the data, and samplers follow it back.
//
//     score(x) = grad log p_t(x) = (alpha D(x) - x) / sigma^2

import {generator} from "../numerics/random.js";
import {pathsOf, score} from "../model/plane.js";
import {courseOf, isStochastic, SAMPLERS} from "../model/samplers.js";
import {schedule} from "../model/schedules.js";
import {announce, box, element, setText} from "../ui/dom.js";
import {choice, counter, slider} from "../ui/controls.js";
import {describe} from "../ui/pictures.js";

const SCHEDULE = "cosine", LEAST_LEVEL = 0.01; // of the noise for which the score is drawn
const REACH = 2.8, PATHS = 40, ARROWS = 15; // units of the plane from its centre; arrows a row
const LEGEND = [
  ["dot", "data"], ["arrow", "score of the data with noise of this level"], ["path", "paths down to this level"],
  ["now", "points at this level"],
];

export function planeTab(sets, changed) {
  const names = Object.keys(sets), named = SAMPLERS.filter((name) => name !== "one_step");
  const kinds = () => Object.keys(sets[set.value].mixtures).map((k) => [k, `${k} Gaussian${k === "1" ? "" : "s"}`]);
  const set = choice({
    name: "points", label: "Points", options: names, value: names[0], changed, set: () => refresh(),
  });
  const number = choice({name: "gaussians", label: "Number of Gaussians", options: kinds(), value: "40", changed});
  const sampler = choice({name: "sampler", label: "Sampler", options: named, value: "ddim", changed});
  const steps = slider({name: "steps", label: "Steps", min: 1, max: 40, value: 12, changed});
  const format = (t) => t.toFixed(2);
  const time = slider({name: "t", label: "Noise level t", min: 0, max: 1, step: 0.01, value: 0.2, changed, format});
  const noise = counter({name: "noise", label: "Other noise", changed});
  const canvas = element("canvas", {role: "img", class: "plane", "aria-label": "the plane"});
  const sentence = element("p", {class: "verdict"});
  const refresh = () => number.setOptions(kinds(), number.value);
  const width = () => Math.round(canvas.clientWidth * (globalThis.devicePixelRatio || 1));
  new ResizeObserver(() => { if (canvas.clientWidth > 0 && canvas.width !== width()) changed(); }).observe(canvas);

  let paths = null, key = "";
  const computePaths = (mixture) => {
    const own = [set, number, sampler, steps, noise].map((one) => one.value).join(" ");
    if (own === key) return;
    key = own;
    const random = generator(41 + noise.value), points = Array.from({length: PATHS}, () => random.normals(2));
    const settings = {scheduleName: SCHEDULE, noise: isStochastic(sampler.value) ? random.normal : null};
    paths = pathsOf(mixture, points, sampler.value, steps.value, settings);
  };

  return {
    heading: "Watch noise become points",
    text: "A sampler takes points from pure noise (t = 1) along the score to the data (t = 0). "
      + "One Gaussian keeps only the mean and the covariance of the data; more Gaussians follow its shape.",
    formula: ["x = α z + σ n", "score = ∇ log p(x) = (α D(x) − x) / σ²", "α = cos(πt/2), σ = sin(πt/2)"],
    fields: [set, number, sampler, steps, time, noise],
    body: [
      box("side", ...[time, set, number, sampler, steps, noise].map((one) => one.element)),
      canvas,
      box("side", sentence, element("ul", {class: "legend"}, ...LEGEND.map(([name, text]) => (
        element("li", {}, element("i", {class: `key ${name}`}), text))))),
    ],
    update() {
      const {points, mixtures} = sets[set.value], mixture = mixtures[number.value], t = time.value;
      computePaths(mixture);
      canvas.width = canvas.height = width() || 600;
      const plane = planeOf(canvas);
      plane.dots(points, 0.022, "--points");
      drawField(plane, mixture, t);
      const {times} = courseOf(sampler.value, SCHEDULE, steps.value), courses = coursesDownTo(paths, times, t);
      plane.lines(courses, 0.03, "--accent");
      plane.dots(courses.map((course) => course[course.length - 1]), 0.055, "--accent");
      const [alpha, sigma] = schedule(SCHEDULE).at(t).map(format);
      const many = `${steps.value} step${steps.value > 1 ? "s" : ""}`, levels = `α = ${alpha} and σ = ${sigma}`;
      const text = `${PATHS} paths of ${sampler.value} with ${many}, at t = ${format(t)}, where ${levels}`;
      setText(sentence, text);
      describe(canvas, `${set.value}, ${number.value} Gaussian${number.value === "1" ? "" : "s"}: ${text}`);
      announce(text);
    },
  };
}

/** Return what draws on a canvas in units of the plane, in colours of the style sheet. */
function planeOf(canvas) {
  const context = canvas.getContext("2d"), unit = canvas.width / (2 * REACH), style = getComputedStyle(canvas);
  const place = ([x, y]) => [(x + REACH) * unit, (REACH - y) * unit];
  const colour = (name) => { context.fillStyle = context.strokeStyle = style.getPropertyValue(name); };
  return {
    dots(points, radius, name) {
      colour(name);
      for (const point of points) {
        context.beginPath();
        context.arc(...place(point), radius * unit, 0, 2 * Math.PI);
        context.fill();
      }
    },
    lines(courses, width, name) {
      colour(name);
      context.lineWidth = width * unit;
      context.globalAlpha = 0.6;
      for (const course of courses) {
        context.beginPath();
        for (const point of course) context.lineTo(...place(point));
        context.stroke();
      }
      context.globalAlpha = 1;
    },
    arrow([x, y], [dx, dy], name) {
      const [x0, y0] = place([x - dx / 2, y - dy / 2]), [x1, y1] = place([x + dx / 2, y + dy / 2]);
      const angle = Math.atan2(y1 - y0, x1 - x0), head = Math.min(0.075 * unit, 0.7 * Math.hypot(x1 - x0, y1 - y0));
      const wing = (side) => [x1 - head * Math.cos(angle + side), y1 - head * Math.sin(angle + side)];
      colour(name);
      context.lineWidth = 0.014 * unit;
      context.globalAlpha = 0.7;
      context.beginPath();
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
      context.stroke();
      context.beginPath();
      context.moveTo(x1, y1);
      for (const side of [-0.45, 0.45]) context.lineTo(...wing(side));
      context.fill();
      context.globalAlpha = 1;
    },
  };
}

/** Draw the score as arrows, whose lengths are compressed so that strong and weak ones are seen. */
function drawField(plane, mixture, t) {
  const [alpha, sigma] = schedule(SCHEDULE).at(Math.max(t, LEAST_LEVEL)), gap = (2 * REACH) / ARROWS;
  for (let i = 0; i < ARROWS; i++) {
    for (let j = 0; j < ARROWS; j++) {
      const x = [(i + 0.5) * gap - REACH, (j + 0.5) * gap - REACH], s = score(mixture, x, alpha, sigma);
      const norm = Math.hypot(...s);
      if (norm > 1e-9) plane.arrow(x, Array.from(s, (one) => (0.85 * gap * one) / (norm + 1)), "--field");
    }
  }
}

/** Return the course of each point from the first time down to t, straight between steps. */
function coursesDownTo(states, times, t) {
  return states[0].map((first, i) => {
    const course = [first];
    for (let k = 1; k < times.length && times[k - 1] > t; k++) {
      const share = Math.min(1, (times[k - 1] - t) / (times[k - 1] - times[k]));
      const a = states[k - 1][i], b = states[k][i];
      course.push([a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])]);
    }
    return course;
  });
}
