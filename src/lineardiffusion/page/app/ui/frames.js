// Updates of the picture: at most one is pending, and it runs with the browser's next frame. What takes longer than
// a frame is a generator, which runs between frames in slices and is given up when another takes its place. Errors
// of both are kept, and told to a listener.

const KEPT = 2000; // times that are kept
const SLICE = 8; // milliseconds

/** Milliseconds that each update took. */
export const timings = [];

/** Errors of updates and of generators. */
export const errors = [];

let pending = null, listener = () => {};

/** Call a function with each error, and with null after an update without one. */
export function listen(hears) {
  listener = hears;
}

function failed(error) {
  errors.push(error);
  listener(error);
}

/** Run an update with the next frame; it takes the place of one that is still to come. */
export function soon(update) {
  if (pending === null) requestAnimationFrame(runPending);
  pending = update;
}

function runPending() {
  const update = pending, start = performance.now();
  pending = null;
  try {
    update();
    listener(null);
  } catch (error) {
    failed(error);
  }
  timings.push(performance.now() - start);
  if (timings.length > KEPT) timings.splice(0, timings.length - KEPT);
}

/** Return a place for one generator at a time: `start(generator)` gives up the one before, `stop()` any. */
export function background() {
  let current = null;
  const step = (work) => {
    if (work !== current) return;
    const end = performance.now() + SLICE;
    try {
      for (let done = false; !done && performance.now() < end;) {
        ({done} = work.next());
        if (done) current = null;
      }
    } catch (error) {
      current = null;
      failed(error);
    }
    if (current === work) setTimeout(step, 0, work);
  };
  return {
    start(work) { current = work; setTimeout(step, 0, work); },
    stop() { current = null; },
  };
}
