// Presets, and prompts of kinds that the model of the package does well.

export const PRESETS = [
  { name: "Fast", says: "1 step, one take", network: "student", steps: 1, count: 1 },
  { name: "Balanced", says: "2 steps, two takes", network: "student", steps: 2, count: 2 },
  { name: "Best", says: "4 steps, four takes", network: "student", steps: 4, count: 4 },
  { name: "Teacher", says: "the slow original, one take", network: "teacher", steps: null, count: 1 },
];

export const EXAMPLES = [
  { prompt: "rain on a tin roof", duration: 5 },
  { prompt: "waves break on a beach", duration: 8 },
  { prompt: "a fire crackles", duration: 5 },
  { prompt: "a rooster crows", duration: 3 },
  { prompt: "a dog barks", duration: 2 },
  { prompt: "a helicopter flies over", duration: 6 },
  { prompt: "a chainsaw cuts wood", duration: 4 },
  { prompt: "a clock ticks", duration: 4 },
  { prompt: "a baby cries", duration: 4 },
  { prompt: "a piano plays a slow melody", duration: 8 },
  { prompt: "a church organ plays chords", duration: 8 },
  { prompt: "wind howls", duration: 6 },
];
