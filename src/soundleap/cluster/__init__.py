"""Several machines through Ray: `ray_data` for long lists, `ray_serve` for an API."""
