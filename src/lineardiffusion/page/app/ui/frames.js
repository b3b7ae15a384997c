// Updates of the picture: at most one is pending, and it runs with the browser's next frame. What takes longer than a
// frame is a generator, which runs between frames in slices and is given up when another takes its place.

const KEPT = 2000; // times that are kept
const SLICE = 8; // milliseconds

/** Milliseconds that each update took. */
export const timings = [];

let pending = null;

/** Run an update with the next frame; it takes the place of one that is still to come. */
export function soon(update) {
  if (pending === null) requestAnimationFrame(runPending);
  pending = update;
}

function runPending() {
  const update = pending, start = performance.now();
  pending = null;
  update();
  timings.push(performance.now() - start);
  if (timings.length > KEPT) timings.splice(0, timings.length - KEPT);
}

/** Return a place for one generator at a time: `start(generator)` gives up the one before, `stop()` any. */
export function background() {
  let current = null;
  const step = (work) => {
    if (work !== current) return;
    const end = performance.now() + SLICE;
    for (let done = false; !done && performance.now() < end;) {
      ({done} = work.next());
      if (done) current = null;
    }
    if (current === work) setTimeout(step, 0, work);
  };
  return {
    start(work) { current = work; setTimeout(step, 0, work); },
    stop() { current = null; },
    get busy() { return current !== null; },
  };
}
