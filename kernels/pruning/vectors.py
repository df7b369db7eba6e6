"""Best vectors of trials at a step, a bounded sample of them, and a trial's layer among those.

A pool holds of all trials that were offered to it the `MOST` whose words are lowest, a word being a mixture of the bits
of a trial's number: a sample as if at random, of all trials with equal chances, that does not depend on the order in
which they came, and that has the same trials at all steps. Up to `MOST` trials it holds them all.

Best vectors are best in each objective by itself; NaN where nothing was reported of one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..arrays import FloatArray, IntArray
from ..compiling import kernel
from ..multi_objective.dominance import non_dominated_layers
from .percentile import better, interpolate, rank_nan_worst

MOST = 256  # trials in a pool
SIZE, CURSOR, HIGHEST = 0, 1, 2  # entries of `state`: how many trials, ended ones looked at, the one of highest word
_FIRST = 8
_WORD = 0xFFFFFFFF


class Pool(NamedTuple):
    """The trials of a step."""

    numbers: IntArray  # (c,), of which the first `state[SIZE]` count, as below
    words: IntArray  # (c,)
    losses: FloatArray  # (c, m), without NaN
    state: IntArray  # (3,)


def empty(objectives: int) -> Pool:
    """A pool that no trial was offered to."""
    return _with_room(_FIRST, objectives, np.zeros(3, np.int64))


def _with_room(capacity: int, objectives: int, state: IntArray) -> Pool:
    return Pool(np.empty(capacity, np.int64), np.empty(capacity, np.int64), np.empty((capacity, objectives)), state)


def widen(pool: Pool) -> Pool:
    """A copy of a pool with room for twice as many trials; `MOST` at most."""
    old = len(pool.numbers)
    wider = _with_room(min(MOST, 2 * old), pool.losses.shape[1], pool.state)
    wider.numbers[:old], wider.words[:old], wider.losses[:old] = pool.numbers, pool.words, pool.losses
    return wider


@kernel
def word(number: int) -> int:
    """The low 32 bits of a number, mixed; different numbers below 2**32 get different words."""
    mixed = number & _WORD
    for _ in range(2):
        mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & _WORD
    return mixed ^ (mixed >> 16)


@kernel
def fold(best: FloatArray, losses: FloatArray) -> None:
    """Take losses (m,) into a best vector (m,)."""
    for j in range(len(best)):
        best[j] = better(best[j], losses[j])


@kernel
def is_full(pool: Pool) -> bool:
    """Whether `offer` needs a wider pool."""
    return pool.state[SIZE] == len(pool.numbers) and len(pool.numbers) < MOST


@kernel
def offer(pool: Pool, number: int, best: FloatArray) -> None:
    """A trial of a best vector (m,), for the first time; the pool is not `is_full`."""
    numbers, words, losses, state = pool
    own, place = word(number), state[SIZE]
    if place == MOST:
        place = state[HIGHEST]
        if own > words[place] or (own == words[place] and number > numbers[place]):
            return
    else:
        state[SIZE] = place + 1
    numbers[place], words[place] = number, own
    for j in range(len(best)):
        losses[place, j] = rank_nan_worst(best[j])
    if state[SIZE] == MOST:
        highest = 0
        for i in range(1, MOST):
            if words[i] > words[highest] or (words[i] == words[highest] and numbers[i] > numbers[highest]):
                highest = i
        state[HIGHEST] = highest


def build(numbers: IntArray, bests: FloatArray) -> Pool:
    """A pool that trials (n,) of best vectors (n, m) were offered to."""
    pool = empty(bests.shape[1])
    while len(pool.numbers) < min(MOST, len(numbers)):
        pool = widen(pool)
    offer_all(pool, numbers, bests)
    return pool


@kernel
def offer_all(pool: Pool, numbers: IntArray, bests: FloatArray) -> None:
    """As `offer`, of trials (n,) of best vectors (n, m) one after the other, for all of which there is room."""
    for i in range(len(numbers)):
        offer(pool, numbers[i], bests[i])


@kernel
def replace(pool: Pool, number: int, best: FloatArray) -> None:
    """A trial's best vector is another one, if the pool holds the trial."""
    for i in range(pool.state[SIZE]):
        if pool.numbers[i] == number:
            for j in range(len(best)):
                pool.losses[i, j] = rank_nan_worst(best[j])


@kernel
def catch_up(pool: Pool, best: FloatArray, highest: IntArray, ended_order: IntArray, ended: int, step: int) -> bool:
    """Take up the trials that ended before `step`; False if the pool is full first (call again with a wider one).

    Args:
        pool: of the step.
        best, highest: by trial, its best vector, (n, m), and its largest step.
        ended_order: numbers of the trials that are carried forward, in the order in which they ended; `ended` of them.
        ended: as above.
        step: as above.
    """
    cursor = pool.state[CURSOR]
    while cursor < ended:
        number = ended_order[cursor]
        if highest[number] < step:
            if is_full(pool):
                pool.state[CURSOR] = cursor
                return False
            offer(pool, number, best[number])
        cursor += 1
    pool.state[CURSOR] = cursor
    return True


@kernel
def is_worse(pool: Pool, number: int, best: FloatArray, q: float) -> bool:
    """Whether a trial's layer is above the percentile at the fraction q of the layers of the others in the pool.

    The layers are those of the others and the trial together. A trial of which nothing is known but NaN is worse.

    Args:
        pool: of the trial's largest step.
        number: the trial's, which the pool may hold.
        best: its best vector (m,).
        q: 0 to 1.
    """
    m = len(best)
    unknown = True
    for j in range(m):
        unknown = unknown and math.isnan(best[j])
    if unknown:
        return True
    compared, others = np.empty((pool.state[SIZE] + 1, m)), 0
    for i in range(pool.state[SIZE]):
        if pool.numbers[i] != number:
            for j in range(m):
                compared[others, j] = pool.losses[i, j]
            others += 1
    if others == 0:
        return False
    for j in range(m):
        compared[others, j] = rank_nan_worst(best[j])
    layers = np.empty(others + 1, np.int64)
    non_dominated_layers(compared[: others + 1], layers)
    ordered = np.sort(layers[:others])
    rank = (others - 1) * q
    k = math.floor(rank)
    low, high = float(ordered[k]), float(ordered[min(k + 1, others - 1)])
    return bool(layers[others] > interpolate(low, high, rank - k))
