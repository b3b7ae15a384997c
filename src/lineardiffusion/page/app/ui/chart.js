// A chart of curves on logarithmic axes. The chosen curve is thick and has markers; the others are thin, with a
// dash pattern each, and every curve has its name at its end, so that no colour is needed to read it.

import {drawn, element} from "./dom.js";

// pixels, where text has 16 of them
const MARGIN = {left: 56, right: 88, top: 12, bottom: 44}, LINE = 15, TICK = 22;
const WIDEST = 900, LEAST_HEIGHT = 230, MOST_HEIGHT = 330;
const DASHES = ["7 3", "2 3", "9 3 2 3", "12 4", "5 5", "1 4", "14 3 3 3", "4 2"];
const LEAST_SHOWN = 1e-4; // a distance of which nothing is seen in a picture
const TICKS = [1, 2, 5, 10, 20, 50, 100];

/**
 * Return a chart with titles of its axes: its `element`, and `show({lines, chosen, point})`. Lines have a name and
 * `points`, pairs of numbers; the point `{name, x, y, everywhere}` is where the page is, for all x if `everywhere`.
 */
export function chart(titles) {
  const own = element("div", {class: "chart"});
  let last = null;
  const draw = () => {
    if (last !== null && own.clientWidth > 0) own.replaceChildren(figureOf(last, own.clientWidth, titles));
  };
  new ResizeObserver(draw).observe(own);
  return {element: own, show(given) { last = given; draw(); }};
}

function figureOf({lines, chosen, point}, room, titles) {
  const em = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
  const width = Math.min(em * WIDEST, room);
  const height = Math.max(em * LEAST_HEIGHT, Math.min(em * MOST_HEIGHT, 0.5 * width));
  const left = em * MARGIN.left, right = width - em * MARGIN.right;
  const top = em * MARGIN.top, bottom = height - em * MARGIN.bottom;
  const seen = lines.map((line, i) => ({
    ...line, dash: DASHES[i % DASHES.length], points: line.points.filter(([, y]) => isShown(y)),
  })).filter((one) => one.points.length > 0);
  const all = [...seen.flatMap((one) => one.points.map(([, y]) => y)), point.y].filter(isShown);
  const most = Math.max(2, ...seen.flatMap((one) => one.points.map(([x]) => x)));
  const low = Math.floor(Math.log10(Math.min(1, ...all)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.min(1e4, Math.max(1, ...all)))));
  const X = (x) => left + ((right - left) * Math.log(x)) / Math.log(most);
  const share = (y) => (high - Math.log10(Math.max(y, 1e-12))) / (high - low);
  const Y = (y) => top + (bottom - top) * Math.min(1, Math.max(0, share(y)));
  const svg = drawn("svg", {
    width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spoken(lines, point),
  });
  const write = (text, x, y, more = {}) => {
    svg.append(drawn("text", {x, y, "text-anchor": "middle", ...more}, text));
  };
  const mark = (name, x, y, r) => svg.append(drawn("circle", {class: name, cx: X(x), cy: Y(y), r: r * em}));
  const rule = (name, d, more = {}) => svg.append(drawn("path", {class: name, d, ...more}));

  for (let k = low; k <= high; k++) {
    const text = k < -1 || k > 3 ? `10${exponent(k)}` : String(10 ** k);
    rule("grid", `M${left} ${Y(10 ** k)}H${right}`);
    write(text, left - 8, Y(10 ** k) + 4 * em, {"text-anchor": "end"});
  }
  let free = 0; // where the next number has room
  for (const x of TICKS.filter((one) => one <= most)) {
    rule("grid", `M${X(x)} ${top}V${bottom}`);
    if (X(x) < free) continue;
    write(String(x), X(x), bottom + 17 * em);
    free = X(x) + TICK * em;
  }
  write(titles.x, (left + right) / 2, height - 6 * em);
  write(titles.y, 13 * em, (top + bottom) / 2, {transform: `rotate(-90 ${13 * em} ${(top + bottom) / 2})`});

  const ends = [];
  for (const {name, points, dash} of seen.sort((a, b) => (a.name === chosen) - (b.name === chosen))) {
    const own = name === chosen, [x, y] = points[points.length - 1];
    const path = points.map(([a, b], i) => `${i ? "L" : "M"}${X(a).toFixed(1)} ${Y(b).toFixed(1)}`).join("");
    rule(own ? "curve chosen" : "curve", path, {"stroke-dasharray": own ? null : dash});
    if (own) for (const [a, b] of points) mark("marker", a, b, 3);
    ends.push({name, x: X(x), y: Y(y), own});
  }
  if (point.everywhere) {
    rule("curve chosen", `M${left} ${Y(point.y)}H${right}`);
    ends.push({name: point.name, x: right, y: Y(point.y), own: true});
  }
  for (const {name, x, y, at, own} of spaced(ends, top + 4, bottom, LINE * em)) {
    rule("leader", `M${x + 1} ${y}L${right + 9} ${at}`);
    write(name, right + 12, at + 4 * em, {"text-anchor": "start", class: own ? "chosen" : null});
  }
  mark("point", point.x, point.y, 7);
  return svg;
}

function isShown(y) {
  return y > LEAST_SHOWN && Number.isFinite(y);
}

/** Return an exponent in raised digits. */
function exponent(k) {
  return String(k).replace(/./g, (c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)]));
}

/** Return the ends of curves with places `at` that are a line of text apart, between top and bottom. */
function spaced(ends, top, bottom, line) {
  const order = [...ends].sort((a, b) => a.y - b.y);
  order.forEach((one, i) => { one.at = Math.max(one.y, i ? order[i - 1].at + line : top); });
  for (let i = order.length - 1, most = bottom; i >= 0; i--) {
    order[i].at = Math.min(order[i].at, most);
    most = order[i].at - line;
  }
  return order;
}

/** Return the chart in words. */
function spoken(lines, point) {
  const rows = lines.map(({name, points}) => {
    const [x, y] = points[0], [xEnd, yEnd] = points[points.length - 1];
    return `${name} from ${y.toPrecision(2)} at ${x} to ${yEnd.toPrecision(2)} at ${xEnd}`;
  });
  const now = `Now: ${point.name}, ${point.y.toPrecision(2)}`;
  return `Chart of the distance W2 against the number of steps. ${now}. ${rows.join("; ")}`;
}
