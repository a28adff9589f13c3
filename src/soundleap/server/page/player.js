// One voice: plays a take, switches to another at the same place, loops, and matches loudness.

const FADE_IN_S = 0.012;
const LOUDEST_DBFS = -18;
const QUIETEST_DBFS = -34;
const PEAK = 0.97;

/** The common level: as loud as all can be without clipping, within bounds. */
export function commonLevel(takes) {
  const known = takes.filter((take) => Number.isFinite(take.loudness) && take.peak > 0);
  const reach = known.map((take) => take.loudness + 20 * Math.log10(PEAK / take.peak));
  return Math.max(QUIETEST_DBFS, Math.min(LOUDEST_DBFS, ...reach));
}

/** The factor that brings a take to a level, or as near as its peak lets it. */
export function gainFor(take, level) {
  if (!Number.isFinite(take.loudness) || !(take.peak > 0)) return 1;
  return Math.min(10 ** ((level - take.loudness) / 20), PEAK / take.peak);
}

export class Player {
  constructor(changed) {
    this.changed = changed;
    this.loop = false;
    this.take = null;
    this.context = null;
    this.voice = null;
    this.began = 0;
    this.rest = 0;
  }

  /** Make ready to sound; must be called while a key or button is pressed. */
  wake() {
    this.context ??= new AudioContext();
    if (this.context.state === "suspended") this.context.resume();
    return this.context;
  }

  get playing() { return this.voice !== null; }

  /** Where it is, in seconds. */
  get position() {
    if (!this.voice) return this.rest;
    const at = this.context.currentTime - this.began;
    const length = this.voice.buffer.duration;
    return this.loop ? at % length : Math.min(at, length);
  }

  /** Begin a take at `from` seconds; without it, where the other one is if one plays, else at 0. */
  play(take, buffer, gain, from) {
    const context = this.wake();
    let start = from ?? (this.playing ? this.position : 0);
    if (start >= buffer.duration - 0.02) start = 0;
    this.#silence();
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.loop = this.loop;
    const volume = context.createGain();
    volume.gain.setValueAtTime(0, context.currentTime);
    volume.gain.linearRampToValueAtTime(gain, context.currentTime + FADE_IN_S);
    source.connect(volume).connect(context.destination);
    source.start(0, start);
    this.voice = { source, volume, buffer };
    this.take = take;
    this.began = context.currentTime - start;
    source.onended = () => {
      if (this.voice?.source !== source) return;
      this.voice = null;
      this.rest = 0;
      this.changed();
    };
    this.changed();
  }

  pause() {
    if (!this.voice) return;
    this.rest = this.position;
    this.#silence();
    this.changed();
  }

  stop() {
    this.#silence();
    this.rest = 0;
    this.changed();
  }

  setGain(gain) {
    if (this.voice) this.voice.volume.gain.setTargetAtTime(gain, this.context.currentTime, FADE_IN_S);
  }

  setLoop(loop) {
    const at = this.position;
    this.loop = loop;
    if (!this.voice) return;
    this.began = this.context.currentTime - at;
    this.voice.source.loop = loop;
  }

  #silence() {
    if (!this.voice) return;
    const { source, volume } = this.voice;
    const now = this.context.currentTime;
    this.voice = null;
    volume.gain.cancelScheduledValues(now);
    volume.gain.setTargetAtTime(0, now, FADE_IN_S / 3);
    source.stop(now + 2 * FADE_IN_S);
  }
}

/** Decode a wav at its own rate. */
export function decode(bytes, rate) {
  return new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes.slice(0));
}
