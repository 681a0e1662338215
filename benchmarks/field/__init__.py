"""The parts of ``benchmarks/methods.py``: methods of the field by one protocol, with numbers that others publish."""
