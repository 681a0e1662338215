"""What the torch functions of a model do with relevance: tables that are filled beside each rule.

A handler gets the call and returns its result: a step with a rule, a rearrangement whose gradient is right as it is, or
other calls that it consists of. Functions in no table are refused by name where relevance would reach them.
"""

from . import (  # noqa: F401 - each fills the table
    activations,
    attention,
    averages,
    convolutions,
    linear,
    maxima,
    normalization,
    products,
    rearrangements,
    sums,
)
from .table import INPLACE, NATIVE, TABLE, Call

__all__ = ["INPLACE", "NATIVE", "TABLE", "Call"]
