// Linear algebra on matrices that are stored row by row in a Float64Array.
//
//     Cholesky         A = L L^T, L lower triangular
//     Eigenvalues      A = Q diag(l) Q^T of a symmetric A: Householder reflections to a tridiagonal matrix, then
//                      implicit QL steps with Wilkinson's shift (Golub and Van Loan, Matrix Computations, ch. 8)
//     Singular values  of A: one-sided Jacobi rotations of the rows (same book, section 8.6). They start from the
//                      eigenvectors of A A^T, whose eigenvalues alone have half of the digits

/** Return the inner product of a row of `a` that starts at i and one of `b` that starts at j, n entries each. */
export function dotAt(a, i, b, j, n) {
  let s = 0, t = 0, u = 0, v = 0, k = 0; // four sums, because each addition waits for the last one of its own sum
  for (; k + 3 < n; k += 4) {
    const p = i + k, q = j + k;
    s += a[p] * b[q];
    t += a[p + 1] * b[q + 1];
    u += a[p + 2] * b[q + 2];
    v += a[p + 3] * b[q + 3];
  }
  for (; k < n; k++) s += a[i + k] * b[j + k];
  return s + t + (u + v);
}

/** Return the product x A of rows x (n, r) and a matrix A (r, c). */
export function multiply(x, A, n, r, c) {
  const out = new Float64Array(n * c);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < r; k++) {
      const a = x[i * r + k];
      if (a !== 0) for (let j = 0, o = i * c, p = k * c; j < c; j++) out[o + j] += a * A[p + j];
    }
  }
  return out;
}

/** Return the product x A^T of rows x (n, c) and a matrix A (r, c). */
export function multiplyTransposed(x, A, n, c, r) {
  const out = new Float64Array(n * r);
  for (let i = 0; i < n; i++) for (let j = 0; j < r; j++) out[i * r + j] = dotAt(x, i * c, A, j * c, c);
  return out;
}

/** Return the transpose (c, r) of a matrix (r, c). */
export function transpose(A, r, c) {
  const out = new Float64Array(r * c);
  for (let i = 0; i < r; i++) for (let j = 0; j < c; j++) out[j * r + i] = A[i * c + j];
  return out;
}

/** Return Q diag(l) Q^T of a matrix Q (d, r), whose columns are directions. */
export function fromSpectrum(Q, l, d, r = d) {
  const out = new Float64Array(d * d), scaled = new Float64Array(r);
  for (let i = 0; i < d; i++) {
    for (let k = 0; k < r; k++) scaled[k] = Q[i * r + k] * l[k];
    for (let j = 0; j <= i; j++) out[i * d + j] = out[j * d + i] = dotAt(scaled, 0, Q, j * r, r);
  }
  return out;
}

/**
 * Return the lower Cholesky factor L (d, d) of A, or null if A is not positive definite. If A may be `singular`, L
 * has columns of zeros for directions without variance.
 */
export function cholesky(A, d, singular = false) {
  const L = new Float64Array(d * d);
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < i; j++) {
      const pivot = L[j * d + j];
      if (pivot > 0) L[i * d + j] = (A[i * d + j] - dotAt(L, i * d, L, j * d, j)) / pivot;
    }
    const rest = A[i * d + i] - dotAt(L, i * d, L, i * d, i);
    if (rest > 0) L[i * d + i] = Math.sqrt(rest);
    else if (!singular) return null;
  }
  return L;
}

/** Solve L y = b in place, for b (d,). */
export function solveLower(L, b, d) {
  for (let i = 0; i < d; i++) b[i] = (b[i] - dotAt(L, i * d, b, 0, i)) / L[i * d + i];
  return b;
}

/** Solve L^T y = b in place, for b (d,). */
export function solveUpper(L, b, d) {
  for (let i = d - 1; i >= 0; i--) {
    const y = b[i] /= L[i * d + i];
    for (let k = 0; k < i; k++) b[k] -= L[i * d + k] * y;
  }
  return b;
}

/** Return the eigenvalues (d,), ascending, and the eigenvectors as columns (d, d) of a symmetric matrix. */
export function symmetricEigen(A, d) {
  const V = Float64Array.from(A), diagonal = new Float64Array(d), beside = new Float64Array(d);
  tridiagonalise(V, diagonal, beside, d);
  // rows are rotated, for they are contiguous
  const rows = transpose(V, d, d);
  implicitQL(rows, diagonal, beside, d);
  const order = Array.from(diagonal.keys()).sort((a, b) => diagonal[a] - diagonal[b]);
  const values = new Float64Array(d), vectors = new Float64Array(d * d);
  order.forEach((from, k) => {
    values[k] = diagonal[from];
    for (let i = 0; i < d; i++) vectors[i * d + k] = rows[from * d + i];
  });
  return {values, vectors};
}

/** Reduce V to a tridiagonal matrix by reflections, whose product takes the place of V. */
function tridiagonalise(V, diagonal, beside, d) {
  const v = new Float64Array(d), w = new Float64Array(d), reflections = [];
  for (let k = d - 1; k > 0; k--) {
    // a reflection of the first k coordinates takes row k to a multiple of the last of them
    let scale = 0;
    for (let i = 0; i < k; i++) scale = Math.max(scale, Math.abs(V[k * d + i]));
    if (scale === 0 || k === 1) { beside[k] = V[k * d + k - 1]; continue; }
    let norm = 0;
    for (let i = 0; i < k; i++) { v[i] = V[k * d + i] / scale; norm += v[i] * v[i]; }
    const length = v[k - 1] > 0 ? -Math.sqrt(norm) : Math.sqrt(norm);
    beside[k] = scale * length;
    const half = norm - v[k - 1] * length; // half of |v - length e|^2
    v[k - 1] -= length;
    let inner = 0;
    for (let i = 0; i < k; i++) { w[i] = dotAt(V, i * d, v, 0, k) / half; inner += w[i] * v[i]; }
    for (let i = 0; i < k; i++) w[i] -= inner / (2 * half) * v[i];
    for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) V[i * d + j] -= v[i] * w[j] + w[i] * v[j];
    reflections.push({v: v.slice(0, k), half, k});
  }
  for (let i = 0; i < d; i++) diagonal[i] = V[i * d + i];
  V.fill(0);
  for (let i = 0; i < d; i++) V[i * d + i] = 1;
  const sums = new Float64Array(d);
  for (const {v: u, half, k} of reflections.reverse()) {
    sums.fill(0, 0, k);
    for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) sums[j] += u[i] * V[i * d + j];
    for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) V[i * d + j] -= u[i] / half * sums[j];
  }
}

/** Diagonalise a tridiagonal matrix; the rows of V become eigenvectors. */
function implicitQL(V, diagonal, beside, d) {
  for (let i = 1; i < d; i++) beside[i - 1] = beside[i];
  beside[d - 1] = 0;
  for (let first = 0; first < d; first++) {
    for (let step = 0; step < 60; step++) {
      let last = first;
      for (; last < d - 1; last++) {
        const size = Math.abs(diagonal[last]) + Math.abs(diagonal[last + 1]);
        if (Math.abs(beside[last]) <= Number.EPSILON / 2 * size) break;
      }
      if (last === first) break;
      let g = (diagonal[first + 1] - diagonal[first]) / (2 * beside[first]);
      const root = Math.hypot(g, 1);
      g = diagonal[last] - diagonal[first] + beside[first] / (g + (g < 0 ? -root : root));
      let s = 1, c = 1, p = 0, split = false;
      for (let i = last - 1; i >= first; i--) {
        const f = s * beside[i], b = c * beside[i], r = Math.hypot(f, g);
        beside[i + 1] = r;
        if (r === 0) { diagonal[i + 1] -= p; beside[last] = 0; split = true; break; }
        s = f / r;
        c = g / r;
        g = diagonal[i + 1] - p;
        const t = (diagonal[i] - g) * s + 2 * c * b;
        p = s * t;
        diagonal[i + 1] = g + p;
        g = c * t - b;
        for (let k = 0, x = i * d, y = x + d; k < d; k++) {
          const upper = V[y + k], lower = V[x + k];
          V[y + k] = s * lower + c * upper;
          V[x + k] = c * lower - s * upper;
        }
      }
      if (split) continue;
      diagonal[first] -= p;
      beside[first] = g;
      beside[last] = 0;
    }
  }
}

/** Return the singular values of a matrix (n, m), n of them in no particular order; n - m are 0 if m < n. */
export function singularValues(rows, n, m) {
  // rows that are almost orthogonal take few rotations
  const {vectors} = symmetricEigen(multiplyTransposed(rows, rows, n, m, n), n);
  const A = multiply(transpose(vectors, n, n), rows, n, n, m);
  const size = dotAt(rows, 0, rows, 0, n * m);
  for (let sweep = 0; sweep < 30; sweep++) {
    let turned = false;
    for (let i = 0; i < n - 1; i++) {
      for (let j = i + 1; j < n; j++) {
        const x = i * m, y = j * m;
        let a = 0, b = 0, c = 0;
        for (let k = 0; k < m; k++) {
          const p = A[x + k], q = A[y + k];
          a += p * p;
          b += q * q;
          c += p * q;
        }
        if (Math.abs(c) <= 1e-13 * Math.sqrt(a * b) || Math.abs(c) <= 1e-30 * size) continue;
        turned = true;
        const zeta = (b - a) / (2 * c), t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const cos = 1 / Math.hypot(1, t), sin = cos * t;
        for (let k = 0; k < m; k++) {
          const p = A[x + k], q = A[y + k];
          A[x + k] = cos * p - sin * q;
          A[y + k] = sin * p + cos * q;
        }
      }
    }
    if (!turned) break;
  }
  return Float64Array.from({length: n}, (_, i) => Math.sqrt(dotAt(A, i * m, A, i * m, m)));
}
