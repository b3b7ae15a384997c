// Noise schedules t -> (alpha, sigma), from pure noise at tMax to no noise at t = 0.
//
//     cosine    alpha = cos(pi t / 2),           sigma = sin(pi t / 2)
//     vp        alpha = exp(-1/2 int_0^t b),     sigma^2 = 1 - alpha^2,     b(t) = b_min + t (b_max - b_min)
//     karras    alpha = 1,                       sigma = t
//     flow      alpha = 1 - t,                   sigma = t

/** Return evenly spaced numbers, n of them, from the first to the last. */
function linspace(first, last, n) {
  const step = n > 1 ? (last - first) / (n - 1) : 0;
  return Float64Array.from({length: n}, (_, i) => (i > 0 && i === n - 1 ? last : first + i * step));
}

const even = (n) => linspace(1, 0, n + 1);

/** Return the schedule of a name, or of its description `{name, ...settings}`. */
export function schedule(description) {
  const settings = typeof description === "string" ? {name: description} : description;
  const known = {cosine, vp, karras, flow};
  if (!known[settings.name]) throw new Error(`unknown schedule ${settings.name}`);
  return known[settings.name](settings);
}

function cosine() {
  const half = Math.PI / 2, at = (t) => [Math.sin(half * (1 - t)), Math.sin(half * t)];
  return {at, tMax: 1, times: even, derivative: (t) => [-half * at(t)[1], half * at(t)[0]]};
}

function vp({beta_min: least = 0.1, beta_max: most = 20}) {
  const log = (t) => -0.5 * t * (least + 0.5 * t * (most - least));
  const at = (t) => [Math.exp(log(t)), Math.sqrt(-Math.expm1(2 * log(t)))];
  const derivative = (t) => {
    const [alpha, sigma] = at(t), slope = -0.5 * alpha * (least + t * (most - least));
    return [slope, (-alpha * slope) / sigma];
  };
  return {at, tMax: 1, times: (n) => even(n).map((t) => t * t), derivative};
}

function karras({sigma_max: most = 80, sigma_min: least = 0.002, rho = 7}) {
  const times = (n) => {
    const levels = linspace(most ** (1 / rho), least ** (1 / rho), n).map((x) => x ** rho);
    return Float64Array.from([...levels, 0]);
  };
  return {at: (t) => [1, t], tMax: most, times, derivative: () => [0, 1]};
}

function flow() {
  return {at: (t) => [1 - t, t], tMax: 1, times: even, derivative: () => [-1, 1]};
}
