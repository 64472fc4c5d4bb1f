"""Videos: where frames come from, which are read, what is done to them, and how they become batches."""
