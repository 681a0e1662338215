"""Explain image classifiers by color channel, by edge filter and by pixel."""
