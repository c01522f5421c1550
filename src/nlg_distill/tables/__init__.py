"""Tables as data: their rows are made, tested, and judged beside published numbers."""
