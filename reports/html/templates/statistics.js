// Comparisons with the best, as in reports/statistics.py: the page makes them again when methods are hidden. A test holds
// both against each other.

const LEVEL = 0.05, POWER = 0.8, SHARED = 4;

/** Chance that a standard normal variable is above z (Hart 1968, as given by West 2005; 1e-15). */
function normalAbove(z) {
  if (z < 0) return 1 - normalAbove(-z);
  if (z > 37) return 0;
  const e = Math.exp(-z * z / 2);
  if (z > 7.07106781186547) return e / (z + 1 / (z + 2 / (z + 3 / (z + 4 / (z + 0.65))))) / 2.506628274631;
  const top = [0.0352624965998911, 0.700383064443688, 6.37396220353165, 33.912866078383, 112.079291497871, 221.213596169931, 220.206867912376];
  const below = [0.0883883476483184, 1.75566716318264, 16.064177579207, 86.7807322029461, 296.564248779674, 637.333633378831, 793.826512519948, 440.413735824752];
  const horner = (values) => values.reduce((sum, value) => sum * z + value, 0);
  return e * horner(top) / horner(below);
}

/** The x in [low, high] where a falling function passes through `value`. */
function bisect(falling, value, low, high) {
  for (let k = 0; k < 100; k++) {
    const middle = (low + high) / 2;
    if (falling(middle) > value) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

const normalQuantile = (p) => (p >= 0.5 ? -bisect(normalAbove, 1 - p, 0, 38) : bisect(normalAbove, p, 0, 38));

function logGamma(x) { // Lanczos
  const c = [76.18009172947146, -86.50532032941677, 24.01409824083091, -1.231739572450155, 0.1208650973866179e-2, -0.5395239384953e-5];
  let sum = 1.000000000190015;
  c.forEach((value, k) => { sum += value / (x + k + 1); });
  return Math.log(2.5066282746310005 * sum / x) + (x + 0.5) * Math.log(x + 5.5) - (x + 5.5);
}

/** Regularised incomplete beta function by its continued fraction (Lentz). */
function incompleteBeta(a, b, x) {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(b, a, 1 - x);
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x)) / a;
  const safe = (value) => (Math.abs(value) < 1e-300 ? 1e-300 : value);
  let c = 1, d = 1 / safe(1 - (a + b) * x / (a + 1)), h = d;
  for (let m = 1; m < 300; m++) {
    const even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / safe(1 + even * d);
    c = safe(1 + even / c);
    h *= d * c;
    const odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / safe(1 + odd * d);
    c = safe(1 + odd / c);
    h *= d * c;
    if (Math.abs(d * c - 1) < 1e-14) break;
  }
  return front * h;
}

/** Chance that Student's t is above `t`. */
function studentAbove(t, dof) {
  if (t < 0) return 1 - studentAbove(-t, dof);
  return dof > 1e6 ? normalAbove(t) : incompleteBeta(dof / 2, 0.5, dof / (dof + t * t)) / 2;
}

const studentQuantile = (p, dof) => bisect((t) => studentAbove(t, dof), p, 0, 1e4);

/** Chance that the range of k standard normal variables exceeds w. */
function rangeAbove(w, k) {
  // 1 - k ∫ φ(z) [Φ(z) - Φ(z - w)]^(k-1) dz, as ∫ φ (1 - […]^(k-1)) so that small chances stay exact
  const steps = 140, low = -8, high = 8 + Math.min(w, 30), h = (high - low) / steps;
  let inside = 0, mass = 0;
  for (let j = 0; j <= steps; j++) {
    const z = low + j * h, weight = (j === 0 || j === steps ? 1 : j % 2 ? 4 : 2) * Math.exp(-z * z / 2);
    mass += weight;
    inside += weight * k * Math.pow(Math.max(normalAbove(z - w) - normalAbove(z), 0), k - 1);
  }
  return Math.min(Math.max(1 - inside / mass, 0), 1);
}

function tukey(p, methods) {
  if (methods <= 2 || p >= 1) return p;
  return rangeAbove(Math.SQRT2 * normalQuantile(p / 2), methods);
}

const points = new Map();
function pointwise(methods) {
  if (methods <= 2) return LEVEL;
  if (!points.has(methods)) points.set(methods, 2 * normalAbove(bisect((w) => rangeAbove(w, methods), LEVEL, 0, 20) / Math.SQRT2));
  return points.get(methods);
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
function variance(values) {
  const centre = mean(values);
  return values.length > 1 ? values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1) : NaN;
}

const twoSided = (gap, error, degrees) => (error > 0 ? 2 * studentAbove(Math.abs(gap) / error, degrees) : Number(gap === 0));

/** `methods` is a list of Maps from seed to value; images(i, j) and dof(i, j) are the noise of test images. Returns the
 * place of the best (-1 if none) and one verdict a method, null where it cannot be compared. */
function compareWithBest(methods, images, dof) {
  const size = methods.length;
  const common = methods.map((a) => methods.map((b) => [...a.keys()].filter((seed) => b.has(seed))));
  const among = methods.map((_, i) => i).filter((i) => 2 * (common[i].filter((seeds) => seeds.length).length - 1) >= size - 1);
  const means = methods.map((values) => mean([...values.values()]));
  const verdicts = methods.map(() => null);
  if (!among.length) return { best: -1, verdicts };
  const best = among.reduce((a, b) => (means[b] > means[a] ? b : a));
  const gaps = methods.map((values, i) => common[i][best].map((seed) => values.get(seed) - methods[best].get(seed)));
  const own = methods.map((values) => variance([...values.values()]));
  verdicts[best] = { gap: 0, low: 0, high: 0, p: 1, detectable: NaN, tied: true };
  let active = methods.map((_, i) => i).filter((i) => i !== best && gaps[i].length);
  let largest = 0;
  while (active.length) {
    const varying = [best, ...active].filter((i) => methods[i].size > 1);
    const few = varying.every((i) => methods[i].size < 3) ? 2 : 1; // as in Noise.of
    const shared = varying.length ? 2 * few * mean(varying.map((i) => own[i])) : 0;
    const spread = varying.reduce((sum, i) => sum + own[i] ** 2 / (methods[i].size + 1), 0);
    const weight = shared > 0 ? Math.min(SHARED, varying.reduce((sum, i) => sum + own[i], 0) ** 2 / spread) : 0;
    const noise = active.map((i) => {
      const n = gaps[i].length, known = n - 1, pair = known ? variance(gaps[i]) : 0;
      const mixed = (weight * shared + known * pair) / Math.max(weight + known, 1e-12);
      const seeds = Math.max(mixed, pair) / n, total = images(i, best) + seeds;
      const parts = images(i, best) ** 2 / dof(i, best) + (seeds > 0 ? seeds ** 2 / (mixed > pair ? weight + known : known) : 0);
      const error = Math.sqrt(total), degrees = parts > 0 ? total ** 2 / parts : Infinity, gap = mean(gaps[i]);
      return { i, gap, error, degrees, p: twoSided(gap, error, degrees) };
    }).sort((a, b) => a.p - b.p);
    const size_ = active.length + 1;
    const stopped = !(tukey(noise[0].p, size_) < LEVEL && noise[0].gap < 0);
    (stopped ? noise : noise.slice(0, 1)).forEach(({ i, gap, error, degrees, p }, step) => {
      largest = Math.max(largest, tukey(p, size_ - step));
      const alone = stopped && gap < 0 ? tukey(twoSided(gap, Math.sqrt(images(i, best)), dof(i, best)), size_) : 1;
      verdicts[i] = { gap, p: largest, tied: stopped, undecided: alone < LEVEL, error, degrees, among: size_ };
    });
    if (stopped) break;
    active = active.filter((i) => i !== noise[0].i);
  }
  return { best, verdicts };
}

/** Fills in what only the drawer shows: the simultaneous interval and the detectable gap. */
function widened(verdict) {
  if (!verdict || verdict.error === undefined || verdict.low !== undefined) return verdict;
  const half = verdict.error * studentQuantile(pointwise(verdict.among) / 2, verdict.degrees);
  return Object.assign(verdict, { low: verdict.gap - half, high: verdict.gap + half,
    detectable: half + verdict.error * studentQuantile(1 - POWER, verdict.degrees) });
}
