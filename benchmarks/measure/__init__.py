"""What a trained method costs: its bill, its time, and what it attains along a video."""
