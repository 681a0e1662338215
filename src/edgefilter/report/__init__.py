"""Report: one self-contained page from an explanation, a profile or a comparison; no numbers of its own."""
