"""Part of Soundleap; see docs/architecture.md."""
