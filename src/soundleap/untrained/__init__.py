"""Models of the published families with random weights: real parts, tiny or of published size.

They make noise. The tiny ones are what tests run on, the large ones what `soundleap bench --family`
measures where no published checkpoint is at hand.
"""

from soundleap.untrained.write import write_untrained_family

__all__ = ["write_untrained_family"]
