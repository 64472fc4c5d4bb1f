"""From answers and bills to records and to what they show."""
