"""Diffusion mathematics: schedules, denoisers, solvers, samplers and guidance."""
