"""What the torch functions of a model do with relevance: tables that are filled beside each rule.

A handler gets the call and returns its result: a step with a rule, a rearrangement whose gradient is right as it is, or
other calls that it consists of. Functions in no table are refused by name where relevance would reach them.
"""

from . import (
    activations,
    attention,
    averages,
    linear,
    maxima,
    normalization,
    products,
    rearrangements,
    sums,
)
from .table import ACTIVATED, INPLACE, NATIVE, TABLE, Call

__all__ = ["ACTIVATED", "INPLACE", "NATIVE", "TABLE", "Call"]

assert all((activations, attention, averages, linear, maxima, normalization, products, rearrangements, sums))
