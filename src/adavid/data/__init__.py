"""Videos: where frames come from, which are read, what is done to them, and how they become batches."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"batch": ["VideoBatch", "View"]})
