// Accessibility of what is visible now: a function that returns findings as text.
//
// Controls and pictures without a name, pictures without a role, ids that occur twice, references to no element,
// and text whose contrast to its background is below 4.5 (WCAG 2.2, 1.1.1, 1.4.3 and 4.1.2).
() => {
  const found = [], say = (what, one) => found.push(`${what}: ${one.outerHTML.slice(0, 150)}`);
  const visible = (one) => one.checkVisibility() && one.getClientRects().length > 0;
  const textOf = (id) => document.getElementById(id)?.textContent ?? "";
  const nameOf = (one) => [
    one.getAttribute("aria-label") ?? "",
    ...(one.getAttribute("aria-labelledby") ?? "").split(" ").map(textOf),
    ...Array.from(one.labels ?? [], (label) => label.textContent),
    one.matches("button") ? one.textContent : "",
  ].join("").trim();

  const pixel = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const bytes = (colour) => {
    pixel.clearRect(0, 0, 1, 1);
    pixel.fillStyle = colour;
    pixel.fillRect(0, 0, 1, 1);
    return pixel.getImageData(0, 0, 1, 1).data;
  };
  const linear = (byte) => (byte <= 10 ? byte / 3294 : ((byte / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const behind = (one) => {
    for (let outer = one; outer; outer = outer.parentElement) {
      const colour = bytes(getComputedStyle(outer).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const contrastOf = (one) => {
    const {fill, color} = getComputedStyle(one);
    const ink = luminance(bytes(one instanceof SVGElement ? fill : color)), paper = luminance(behind(one));
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  };

  const all = Array.from(document.querySelectorAll("body *")).filter(visible);
  const ids = all.map((one) => one.id).filter(Boolean);
  for (const one of all) {
    const named = one.matches("button, input, select, [tabindex], [role=img], canvas, svg");
    if (named && !nameOf(one)) say("no name", one);
    if (one.matches("canvas, svg") && one.getAttribute("role") !== "img") say("no role", one);
    if (one.id && ids.filter((id) => id === one.id).length > 1) say("an id twice", one);
    for (const name of ["aria-controls", "aria-labelledby", "aria-describedby", "for"]) {
      const id = one.getAttribute(name);
      if (id !== null && !document.getElementById(id)) say("a reference to nothing", one);
    }
    const text = Array.from(one.childNodes).some((node) => node.nodeType === 3 && node.textContent.trim());
    if (text && !one.matches("option, script, style") && contrastOf(one) < 4.5) say("contrast", one);
  }
  return found;
}
