"""Figures: the forms in which a sweep's results are drawn, from the tables alone; they know no paper and no network."""
