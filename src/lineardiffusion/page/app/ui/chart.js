// A chart of curves on logarithmic axes. The chosen curve is thick and has markers; the others are thin, with a dash
// pattern each, and every curve has its name at its end, so that no colour is needed to read it.

import {drawn, element} from "./dom.js";

const DASHES = ["7 3", "2 3", "9 3 2 3", "12 4", "5 5", "1 4", "14 3 3 3", "4 2"];
const LEFT = 56, RIGHT = 84, TOP = 12, BOTTOM = 44, LINE = 14; // pixels
const WIDEST = 760, LEAST_SHOWN = 1e-4; // a distance of which nothing is seen in a picture

/** Return a chart with titles of its axes: its `element`, and `show({lines, chosen, point})`. */
export function chart({x: titleX, y: titleY}) {
  const own = element("div", {class: "chart"});
  let last = null;
  const draw = () => {
    if (last === null || own.clientWidth === 0) return;
    own.replaceChildren(figureOf(last, Math.min(WIDEST, own.clientWidth), titleX, titleY));
  };
  new ResizeObserver(draw).observe(own);
  return {element: own, show(given) { last = given; draw(); }};
}

function figureOf({lines, chosen, point}, width, titleX, titleY) {
  const height = Math.round(Math.max(230, Math.min(330, 0.55 * width))), right = RIGHT;
  const values = lines.flatMap((one) => one.points.map(([, y]) => y)).concat(point.y).filter((y) => y > LEAST_SHOWN && Number.isFinite(y));
  const low = Math.floor(Math.log10(Math.min(1, ...values))), high = Math.max(low + 1, Math.ceil(Math.log10(Math.min(1e4, Math.max(...values, 1)))));
  const most = Math.max(2, ...lines.flatMap((one) => one.points.map(([n]) => n)));
  const X = (n) => LEFT + ((width - LEFT - right) * Math.log(n)) / Math.log(most);
  const Y = (y) => TOP + (height - TOP - BOTTOM) * Math.min(1, Math.max(0, (high - Math.log10(Math.max(y, 1e-12))) / (high - low)));
  const floor = height - BOTTOM, svg = drawn("svg", {width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spoken(lines, point)});
  for (let k = low; k <= high; k++) {
    svg.append(drawn("path", {class: "grid", d: `M${LEFT} ${Y(10 ** k)}H${width - right}`}), drawn("text", {x: LEFT - 8, y: Y(10 ** k) + 4, "text-anchor": "end"}, k < -1 || k > 3 ? `10${exponent(k)}` : String(10 ** k)));
  }
  for (const n of [1, 2, 5, 10, 20, 50].filter((m) => m <= most)) {
    svg.append(drawn("path", {class: "grid", d: `M${X(n)} ${TOP}V${floor}`}), drawn("text", {x: X(n), y: floor + 17, "text-anchor": "middle"}, String(n)));
  }
  svg.append(drawn("text", {x: (LEFT + width - right) / 2, y: height - 6, "text-anchor": "middle"}, titleX));
  svg.append(drawn("text", {x: 13, y: (TOP + floor) / 2, "text-anchor": "middle", transform: `rotate(-90 13 ${(TOP + floor) / 2})`}, titleY));
  const ends = [];
  const ordered = [...lines].map((one, i) => ({...one, dash: DASHES[i % DASHES.length]})).sort((a, b) => (a.name === chosen) - (b.name === chosen));
  for (const {name, points: all, dash} of ordered) {
    const points = all.filter(([, y]) => y > LEAST_SHOWN && Number.isFinite(y));
    if (!points.length) continue;
    const path = points.map(([n, y], i) => `${i ? "L" : "M"}${X(n).toFixed(1)} ${Y(y).toFixed(1)}`).join(""), own = name === chosen;
    svg.append(drawn("path", {class: own ? "curve chosen" : "curve", d: path, "stroke-dasharray": own ? null : dash}));
    if (own) for (const [n, y] of points) svg.append(drawn("circle", {class: "marker", cx: X(n), cy: Y(y), r: 3}));
    const [n, y] = points[points.length - 1];
    ends.push({name, x: X(n), y: Y(y), own});
  }
  for (const {name, x, y, at, own} of spaced(ends, TOP + 4, floor)) {
    svg.append(drawn("path", {class: "leader", d: `M${x + 1} ${y}L${width - right + 9} ${at}`}));
    svg.append(drawn("text", {class: own ? "chosen" : "", x: width - right + 12, y: at + 4}, name));
  }
  if (point.everywhere) svg.append(drawn("path", {class: "curve chosen", d: `M${LEFT} ${Y(point.y)}H${width - right}`}));
  svg.append(drawn("circle", {class: "point", cx: X(point.x), cy: Y(point.y), r: 7}));
  return svg;
}

/** Return an exponent in raised digits. */
function exponent(k) {
  return String(k).replace(/./g, (c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)]));
}

/** Return the ends of curves with places `at` that are a line of text apart. */
function spaced(ends, top, bottom) {
  const order = [...ends].sort((a, b) => a.y - b.y);
  order.forEach((one, i) => { one.at = Math.max(one.y, i ? order[i - 1].at + LINE : top); });
  for (let i = order.length - 1, limit = bottom; i >= 0; i--, limit -= LINE) order[i].at = Math.min(order[i].at, limit, i < order.length - 1 ? order[i + 1].at - LINE : limit);
  return order;
}

/** Return the chart in words. */
function spoken(lines, point) {
  const rows = lines.map(({name, points}) => `${name} from ${points[0][1].toPrecision(2)} at ${points[0][0]} step to ${points[points.length - 1][1].toPrecision(2)} at ${points[points.length - 1][0]}`);
  return `Chart of the distance W2 against the number of steps. Now: ${point.name}, ${point.y.toPrecision(2)}. ${rows.join("; ")}`;
}
