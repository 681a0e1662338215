"""Relevance rules as loops over dense matrices: slow, one sample at a time, nothing of edgefilter."""

from __future__ import annotations

import torch

FLOOR = 0.005  # of the shares in hidden linear layers
SUM_FLOOR = 0.1  # of those in sums of signals


class Slow:
    """A value of a network and how its relevance goes to the values it was made of: one sample, dense matrices, loops.

    ``hand`` takes the relevance of the value and returns that of each source.
    """

    def __init__(self, value, sources=(), hand=None):
        self.value, self.sources, self.hand = value.detach(), sources, hand

    def relevances(self, start, wanted):
        """Hand ``start`` back to the wanted values, each value after all its readers."""
        order = []

        def visit(node):
            if node not in order:
                for source in node.sources:
                    visit(source)
                order.append(node)

        visit(self)
        found = {self: start}
        for node in reversed(order):
            for source, part in zip(
                node.sources, node.hand(found[node]) if node.sources else (), strict=True
            ):
                found[source] = found.get(source, 0) + part
        return [found[node] for node in wanted]


def share_out(candidates, relevance):
    """Share each output's relevance by the first of the candidates (inputs of that output) that is not zero."""
    result = torch.zeros_like(candidates[0][0])
    for row, part in enumerate(relevance.flatten()):
        for shares in candidates:
            largest = shares[row].abs().max()
            if shares[row].sum().abs() > 1e-13 * largest:
                result += shares[row] / shares[row].sum() * part
                break
    return result


def by_epsilon(weights, values, relevance):
    z = weights * values
    return share_out([z, z.abs(), weights**2], relevance)


def by_bounded(weights, values, relevance, biases=None, floor=FLOOR):
    """Each contribution as it is, and what the bias and the floor add to it by its size."""
    result = torch.zeros_like(values)
    for row, part in enumerate(relevance.flatten()):
        z = weights[row] * values
        size, bias = z.abs().sum(), 0.0 if biases is None else float(biases[row])
        if size == 0:
            result += weights[row] ** 2 / (weights[row] ** 2).sum() * part
            continue
        sign = -1.0 if float(z.sum()) + bias < 0 else 1.0
        shares = z + z.abs() / size * (bias + floor * sign * size)
        result += shares / (z.sum() + bias + floor * sign * size) * part
    return result


def by_floored_sum(weights, values, relevance, floor=SUM_FLOOR):
    z = weights * values
    signs = torch.where(z.sum(1, keepdim=True) < 0, -1.0, 1.0).to(z)
    return share_out([z + floor * signs * z.abs(), weights], relevance)


def by_zplus(weights, values, relevance):
    z = weights * values
    return share_out([z.clamp(min=0), z.abs(), weights**2], relevance)


def by_alpha2_beta1(weights, values, relevance):
    z = weights * values
    both = ((z > 0).any(1) & (z < 0).any(1)).to(relevance).reshape(relevance.shape)
    against = share_out([z.clamp(max=0)], both * relevance)
    return by_zplus(weights, values, relevance * (1 + both)) - against


def by_wsquare(weights, values, relevance):
    return share_out([weights**2], relevance)


def by_norm(weights, values, relevance):
    z = weights * values
    return share_out([z, z.abs(), weights], relevance)


def by_positive(weights, values, relevance):
    return share_out([weights * values.clamp(min=0), weights * values.abs(), weights], relevance)


COMPOSITES = {  # the rules of convolutions, of hidden linear layers, of the last one
    "epsilon_plus": (by_zplus, by_bounded, by_epsilon),
    "zplus": (by_zplus, by_zplus, by_zplus),
    "epsilon_alpha2_beta1": (by_alpha2_beta1, by_bounded, by_epsilon),
}


def spread(rule, function, source):
    """Apply an affine function; the rule gets its matrix, and the bias if it asks for one."""
    nothing = torch.zeros_like(source.value)
    matrix = torch.autograd.functional.jacobian(function, nothing)
    matrix = matrix.reshape(-1, source.value.numel()).detach()
    bias = {"biases": function(nothing).detach().flatten()} if rule is by_bounded else {}

    def hand(relevance):
        shares = rule(matrix, source.value.flatten(), relevance.flatten(), **bias)
        return [shares.reshape(source.value.shape)]

    return Slow(function(source.value), [source], hand)


def add(rule, *terms):
    """Add values: each sum has one term of each."""

    def hand(relevance):
        values = torch.stack([term.value.flatten() for term in terms], 1)
        parts = [
            rule(torch.ones(1, len(terms)).to(v), v, r[None])
            for v, r in zip(values, relevance.flatten(), strict=True)
        ]
        return [part.reshape(relevance.shape) for part in torch.stack(parts, 1)]

    return Slow(sum(term.value for term in terms), terms, hand)


def passing(function, source):
    """An activation, a normalisation or a gate, which hand relevance through."""
    return Slow(function(source.value), [source], lambda relevance: [relevance])


def moving(function, *sources):
    """A rearrangement or a maximum: each output is one of the inputs."""

    def hand(relevance):
        return torch.autograd.functional.vjp(function, tuple(source.value for source in sources), relevance)[
            1
        ]

    return Slow(function(*(source.value for source in sources)), sources, hand)


def product(first, second):
    """Multiply two stacks of matrices: half of the relevance to each factor, by contributions (AttnLRP, eq. 15)."""

    def hand(relevance):
        shares = torch.zeros_like(first.value), torch.zeros_like(second.value)
        for stack, matrix in enumerate(relevance):
            for row, line in enumerate(matrix):
                for column, part in enumerate(line):
                    z = first.value[stack, row] * second.value[stack, :, column]
                    shares[0][stack, row] += z / z.sum() * part / 2
                    shares[1][stack, :, column] += z / z.sum() * part / 2
        return list(shares)

    return Slow(first.value @ second.value, [first, second], hand)


def softmax(source):
    """Take the softmax along the last axis: ``R_i = x_i (R_i - s_i sum_j R_j)`` (AttnLRP, eq. 13)."""
    weights = source.value.softmax(-1)

    def hand(relevance):
        rows = [values.reshape(-1, values.shape[-1]) for values in (source.value, weights, relevance)]
        shares = [
            [x[i] * (r[i] - s[i] * sum(r)) for i in range(len(x))] for x, s, r in zip(*rows, strict=True)
        ]
        return [torch.tensor(shares).to(relevance).reshape(relevance.shape)]

    return Slow(weights, [source], hand)
