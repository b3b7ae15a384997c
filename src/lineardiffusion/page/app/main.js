// The page: it loads the model, builds a tab when it is first shown, and keeps address and pictures up to date.

import {loadModel} from "./model/load.js";
import {drawnLaw} from "./model/gaussians.js";
import {denoise} from "./model/denoise.js";
import {Posterior} from "./model/posterior.js";
import {box, element, setText} from "./ui/dom.js";
import {background, errors, listen, soon, timings} from "./ui/frames.js";
import {readAddress, takeFields, writeAddress} from "./ui/address.js";
import {tabs} from "./ui/tabs.js";
import {completeTab} from "./tabs/complete.js";
import {componentsTab} from "./tabs/components.js";
import {denoiseTab} from "./tabs/denoise.js";
import {samplersTab} from "./tabs/samplers.js";
import {handTab} from "./tabs/hand.js";
import {stylesTab} from "./tabs/styles.js";
import {planeTab} from "./tabs/plane.js";

const stage = document.getElementById("stage");

/** Return the tabs of a model. */
function viewsOf(model, plane) {
  const all = [
    ["Complete", completeTab], ["Components", componentsTab], ["Denoise", denoiseTab], ["Samplers", samplersTab],
    ["Hand", handTab], ["Styles", stylesTab], ["Plane", (_, changed) => planeTab(plane, changed)],
  ];
  return all.filter(([title]) => title !== "Styles" || model.hasStyles)
    .map(([title, make]) => ({
      id: title.toLowerCase(), title, make, view: null,
      alert: element("p", {class: "notice", role: "alert", hidden: true}),
    }));
}

/** Return what is said of a model in one line. */
function factsOf({prompts, symbols, shape, d, hasStyles}) {
  const styles = hasStyles ? ` in ${symbols.filter((one) => one.weight > 0).length} styles` : "";
  const known = `${prompts.length} prompt${prompts.length > 1 ? "s" : ""}${styles}`;
  const size = `${shape.join(" × ")} ${shape.length > 1 ? "pixels" : "numbers"}`;
  return `A diffusion model whose parts are all linear: ${known}, ${size}, ${d} components.`;
}

/** Show the tabs of a model, from the one that the address names. */
function openPage(model, plane) {
  const views = viewsOf(model, plane), byId = (id) => views.find((one) => one.id === id);
  let current = null;
  const changedIn = (one) => () => {
    soon(() => one.view.update());
    writeAddress(one.id, one.view.fields);
  };
  for (const one of views) {
    one.build = () => {
      one.view = one.make(model, () => changedIn(one)());
      const {heading, text, formula, body} = one.view;
      return [
        element("h2", {}, heading), element("p", {class: "lead"}, text),
        element("p", {class: "formula"}, ...formula.map((part) => element("span", {}, part))),
        one.alert, box("body", ...body),
      ];
    };
  }
  const bar = tabs(views, (id) => {
    if (current?.id !== id) current?.view.leave?.();
    current = byId(id);
    changedIn(current)();
  });
  const follow = () => {
    const {id, given} = readAddress(location.hash), one = byId(id) ?? views[0];
    bar.show(one.id);
    takeFields(one.view.fields, given);
    changedIn(one)();
  };
  stage.replaceChildren(bar.list, bar.panels);
  listen((error) => {
    current.alert.hidden = error === null;
    setText(current.alert, error === null ? "" : `This could not be computed: ${error.message}`);
  });
  addEventListener("hashchange", follow);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => changedIn(current)());
  follow();
}

/** Decompose the Gaussians of the symbols between frames, so that no tab waits for them. */
function* prepared(model) {
  for (const k of model.symbols.keys()) {
    if (model.arrays("regression.mean") === null) drawnLaw(model, k);
    yield;
  }
}

async function start() {
  try {
    const {model: meta, plane} = JSON.parse(document.getElementById("meta").textContent);
    const model = await loadModel(meta, document.getElementById("arrays").textContent);
    globalThis.linearDiffusion = {model, timings, errors, Posterior, denoise};
    setText(document.getElementById("facts"), factsOf(model));
    openPage(model, plane);
    requestAnimationFrame(() => { document.body.dataset.ready = String(Math.round(performance.now())); });
    background().start(prepared(model));
  } catch (error) {
    const text = `The page cannot start. ${error.message}`;
    stage.replaceChildren(element("p", {class: "notice", role: "alert"}, text));
  }
}

start();
