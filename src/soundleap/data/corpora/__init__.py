"""The public collections behind the sound corpus: what they hold, where they are, their layouts."""
