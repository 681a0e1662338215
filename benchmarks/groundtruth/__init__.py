"""Data whose relevant color, filter and place are known, and what methods say about them."""
