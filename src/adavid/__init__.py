"""AdaVid: one recipe, one cost accounting and one leaderboard for adaptive video recognition.

What the author of a method or of a data set needs is importable from here (`__init__.pyi` lists it). Nothing is loaded
before it is asked for, so that what reads result files alone needs neither torch nor a decoder.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
