// Waveform and spectrogram of a decoded sound on a canvas.

const FFT = 512;
const FLOOR_DB = -75;
const WINDOW = Float32Array.from({ length: FFT }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / FFT));
const STOPS = [[10, 8, 28], [66, 20, 98], [140, 42, 110], [212, 72, 66], [250, 154, 40], [252, 236, 150]];
const COLOURS = Array.from({ length: 256 }, (_, i) => {
  const at = (i / 255) * (STOPS.length - 1);
  const low = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[low].map((value, c) => Math.round(value + (STOPS[low + 1][c] - value) * (at - low)));
});

/** Radix-2 fast Fourier transform, in place. */
export function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const angle = (-2 * Math.PI * k) / size;
      const wr = Math.cos(angle);
      const wi = Math.sin(angle);
      for (let i = k; i < n; i += size) {
        const j = i + half;
        const tr = wr * re[j] - wi * im[j];
        const ti = wr * im[j] + wi * re[j];
        re[j] = re[i] - tr;
        im[j] = im[i] - ti;
        re[i] += tr;
        im[i] += ti;
      }
    }
  }
}

/** Levels in dB, [columns][FFT / 2], of windows spread evenly over the samples. */
export function levels(samples, columns) {
  return Array.from({ length: columns }, (_, column) => {
    const centre = Math.round(((column + 0.5) / columns) * samples.length);
    const re = new Float32Array(FFT);
    const im = new Float32Array(FFT);
    for (let i = 0; i < FFT; i++) re[i] = (samples[centre - FFT / 2 + i] ?? 0) * WINDOW[i];
    fft(re, im);
    return Float32Array.from({ length: FFT / 2 }, (_, k) => 10 * Math.log10(re[k] ** 2 + im[k] ** 2 + 1e-12));
  });
}

/** Draw the waveform on the upper 45 % of the canvas and the spectrogram (mel axis) below. */
export function draw(canvas, samples, rate) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = Math.max(2, Math.round(canvas.clientHeight * ratio));
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const split = Math.round(height * 0.45);
  drawWave(context, samples, width, split, getComputedStyle(canvas).color);
  drawSpectrum(context, samples, rate, width, split, height - split);
}

function drawWave(context, samples, width, height, colour) {
  let peak = 1e-4;
  for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
  context.fillStyle = colour;
  for (let x = 0; x < width; x++) {
    const from = Math.floor((x / width) * samples.length);
    const to = Math.max(from + 1, Math.floor(((x + 1) / width) * samples.length));
    let low = 0;
    let high = 0;
    for (let i = from; i < to; i++) {
      low = Math.min(low, samples[i]);
      high = Math.max(high, samples[i]);
    }
    const scale = (height * 0.46) / peak;
    context.fillRect(x, height / 2 - high * scale, 1, Math.max(1, (high - low) * scale));
  }
}

function drawSpectrum(context, samples, rate, width, top, height) {
  const columns = Math.min(width, 600);
  const power = levels(samples, columns);
  let loudest = -200;
  for (const column of power) for (const value of column) loudest = Math.max(loudest, value);
  const bins = melBins(height, rate);
  const image = context.createImageData(columns, height);
  for (let x = 0; x < columns; x++) {
    for (let y = 0; y < height; y++) {
      const at = bins[y];
      const low = Math.floor(at);
      const value = power[x][low] + (power[x][Math.min(low + 1, FFT / 2 - 1)] - power[x][low]) * (at - low);
      const shade = Math.max(0, Math.min(255, Math.round(255 * (1 - (value - loudest) / FLOOR_DB))));
      image.data.set([...COLOURS[shade], 255], 4 * (y * columns + x));
    }
  }
  const small = document.createElement("canvas");
  small.width = columns;
  small.height = height;
  small.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(small, 0, top, width, height);
}

/** The place in the spectrum of every row, top row first, evenly spread in mel. */
function melBins(height, rate) {
  const top = 2595 * Math.log10(1 + rate / 2 / 700);
  return Array.from({ length: height }, (_, y) => {
    const hertz = 700 * (10 ** (((1 - (y + 0.5) / height) * top) / 2595) - 1);
    return Math.min(FFT / 2 - 1, (hertz / rate) * FFT);
  });
}
