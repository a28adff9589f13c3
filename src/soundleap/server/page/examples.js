// Presets, and prompts whose sounds a tagger (YAMNet) names, or at least places in the right family.

export const PRESETS = [
  { name: "Fast", says: "1 step, one take", network: "student", steps: 1, count: 1 },
  { name: "Balanced", says: "2 steps, two takes", network: "student", steps: 2, count: 2 },
  { name: "Best", says: "4 steps, four takes", network: "student", steps: 4, count: 4 },
  { name: "Teacher", says: "the slow original, one take", network: "teacher", steps: null, count: 1 },
];

export const EXAMPLES = [
  { prompt: "waves break on a beach", duration: 8 },
  { prompt: "a helicopter flies over", duration: 6 },
  { prompt: "a rooster crows", duration: 3 },
  { prompt: "crickets chirp at night", duration: 5 },
  { prompt: "a door creaks", duration: 3 },
  { prompt: "a drum kit plays a beat", duration: 6 },
  { prompt: "a piano plays a slow melody", duration: 8 },
  { prompt: "a church organ plays chords", duration: 8 },
  { prompt: "a bell rings", duration: 4 },
  { prompt: "a vibraphone plays", duration: 6 },
  { prompt: "a trumpet plays", duration: 5 },
  { prompt: "a woman speaks", duration: 4 },
];
