"""Studies: what a choice buys, measured on a model and kept with what measured it."""
