"""How fast a model is on this machine, and how much memory it takes."""
