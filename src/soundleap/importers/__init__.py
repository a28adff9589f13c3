"""Published checkpoints to models of ours: names, sizes, recognition and conversion."""
