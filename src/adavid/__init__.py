"""AdaVid: one recipe, one cost accounting and one leaderboard for adaptive video recognition."""

__version__ = "0.1.0"
