/** Difference maps of two images, as images of the same size. */
const maps = {
  /** BT.601 luma in studio range over 255, as in the scores. */
  luma(pixels) {
    const out = new Float32Array(pixels.length / 4);
    for (let i = 0, k = 0; i < out.length; i += 1, k += 4) {
      out[i] = (16 + (65.481 * pixels[k] + 128.553 * pixels[k + 1] + 24.966 * pixels[k + 2]) / 255) / 255;
    }
    return out;
  },

  /** Black, red, yellow, white. */
  heat(t) { return [clamp(t * 3, 0, 1), clamp(t * 3 - 1, 0, 1), clamp(t * 3 - 2, 0, 1)]; },

  /** Blue where `a` is darker, red where it is brighter, white where they are equal. */
  diverging(t) {
    const far = Math.min(Math.abs(t), 1);
    return t < 0 ? [1 - far * 0.87, 1 - far * 0.6, 1 - far * 0.25] : [1 - far * 0.2, 1 - far * 0.85, 1 - far * 0.82];
  },

  absolute(a, b, top) { return maps.paint(a.map((v, i) => Math.abs(v - b[i]) / top), maps.heat); },
  signed(a, b, top) { return maps.paint(a.map((v, i) => (v - b[i]) / top), maps.diverging); },

  /** White where equal, black where dissimilar, grey at the border that windows do not cover. */
  ssim(a, b, width, height) {
    const values = maps.ssimValues(a, b, width, height);
    return maps.paint(values, (t) => (Number.isNaN(t) ? [0.5, 0.5, 0.5] : [t, t, t].map((v) => clamp(v, 0, 1))));
  },

  paint(values, colour) {
    const out = new Uint8ClampedArray(values.length * 4);
    for (let i = 0, k = 0; i < values.length; i += 1, k += 4) {
      const [red, green, blue] = colour(values[i]);
      out[k] = red * 255;
      out[k + 1] = green * 255;
      out[k + 2] = blue * 255;
      out[k + 3] = 255;
    }
    return out;
  },

  /** SSIM by pixel (Wang et al. 2004): Gaussian window 11x11 of sigma 1.5, NaN within 5 pixels of the border. */
  ssimValues(a, b, width, height) {
    const product = (p, q) => {
      const out = new Float64Array(p.length);
      for (let i = 0; i < out.length; i += 1) out[i] = p[i] * q[i];
      return out;
    };
    const blur = (plane) => maps.blur(plane, width, height);
    const [meanA, meanB] = [blur(a), blur(b)];
    const [squareA, squareB, cross] = [blur(product(a, a)), blur(product(b, b)), blur(product(a, b))];
    const [c1, c2] = [0.01 ** 2, 0.03 ** 2];
    return meanA.map((x, i) => {
      const y = meanB[i];
      const both = squareA[i] - x * x + squareB[i] - y * y;
      return ((2 * x * y + c1) * (2 * (cross[i] - x * y) + c2)) / ((x * x + y * y + c1) * (both + c2));
    });
  },

  /** The Gaussian mean around each pixel whose window is inside the image; NaN for the others. */
  blur(plane, width, height) {
    const window = Array.from({ length: 11 }, (_, k) => Math.exp(-((k - 5) ** 2) / 4.5));
    const sum = window.reduce((total, w) => total + w, 0);
    const tall = new Float64Array(plane.length);
    const out = new Float64Array(plane.length).fill(NaN);
    const last = (height - 5) * width;
    window.forEach((weight, k) => {
      const by = (k - 5) * width;
      for (let i = 5 * width; i < last; i += 1) tall[i] += (weight / sum) * plane[i + by];
    });
    for (let row = 5 * width; row < last; row += width) {
      for (let i = row + 5; i < row + width - 5; i += 1) {
        let total = 0;
        for (let k = 0; k < 11; k += 1) total += window[k] * tall[i + k - 5];
        out[i] = total / sum;
      }
    }
    return out;
  },
};
