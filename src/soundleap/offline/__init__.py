"""Long lists of sounds: shares of a list, a manifest, and going on after a kill."""

from soundleap.offline.folder import OfflineFolder
from soundleap.offline.manifest import Key, Row
from soundleap.offline.shards import Shard, check_seeds

__all__ = ["Key", "OfflineFolder", "Row", "Shard", "check_seeds"]
