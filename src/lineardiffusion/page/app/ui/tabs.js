// Tabs, as the WAI-ARIA practices describe them: arrow keys, Home and End choose, and a tab controls its panel. A
// panel is built when it is first shown.

import {element} from "./dom.js";

const STEPS = {ArrowRight: 1, ArrowLeft: -1};

/** Return `{list, panels, show(id)}` of tabs `{id, title, build() -> elements}`; each choice calls `chosen(id)`. */
export function tabs(all, chosen) {
  const list = element("div", {role: "tablist", "aria-label": "Views of the model"}), panels = element("div");
  const heads = all.map(({id, title}, i) => {
    const head = element("button", {
      type: "button", role: "tab", id: `tab-${id}`, "aria-controls": `panel-${id}`,
      click: () => choose(i, false), keydown: (event) => pressed(event, i),
    }, title);
    list.append(head);
    return head;
  });
  const bodies = all.map(({id}) => {
    const body = element("section", {
      role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}`, tabindex: 0, hidden: true,
    });
    panels.append(body);
    return body;
  });
  const pressed = (event, i) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return; // those are the browser's
    const n = all.length, step = STEPS[event.key];
    const next = step ? (i + step + n) % n : event.key === "Home" ? 0 : event.key === "End" ? n - 1 : -1;
    if (next < 0) return;
    event.preventDefault();
    choose(next, true);
  };
  const choose = (i, focus) => {
    heads.forEach((head, j) => {
      head.setAttribute("aria-selected", i === j);
      head.tabIndex = i === j ? 0 : -1;
      bodies[j].hidden = i !== j;
    });
    if (!bodies[i].firstChild) bodies[i].append(...all[i].build());
    if (focus) heads[i].focus();
    chosen(all[i].id);
  };
  return {list, panels, show: (id) => choose(Math.max(0, all.findIndex((one) => one.id === id)), false)};
}
