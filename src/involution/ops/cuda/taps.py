"""The taps of a window: which pixel sees which column through which, and their kernels in registers."""

from __future__ import annotations

import triton
import triton.language as tl

from involution.ops.cuda.precision import widen


@triton.jit
def unbind(t, N: tl.constexpr, ACC: tl.constexpr, LAST: tl.constexpr):
    """[., ., N] → N tensors [., .] of dtype ACC, in bit-reversed order: tensor `place(v, N)` is column v.

    Triton cannot index registers. Halving does not move data: it only gives registers names.
    """
    if N == 2:
        t = widen(t, ACC, LAST)
    if N == 1:
        columns = (tl.reshape(t, (t.shape[0], t.shape[1])).to(ACC),)
    else:
        even, odd = tl.split(tl.reshape(t, (t.shape[0], t.shape[1], N // 2, 2)))
        columns = unbind(even, N // 2, ACC, LAST) + unbind(odd, N // 2, ACC, LAST)
    return columns


@triton.jit
def bind(columns, N: tl.constexpr):
    """Undo `unbind`."""
    if N == 1:
        t = tl.reshape(columns[0], (columns[0].shape[0], columns[0].shape[1], 1))
    else:
        even = bind(columns[: N // 2], N // 2)
        odd = bind(columns[N // 2 :], N // 2)
        t = tl.reshape(tl.join(even, odd), (even.shape[0], even.shape[1], N))
    return t


@triton.constexpr_function
def place(v, N):
    """Return `v` with its log2(N) bits in reverse order."""
    reverse = 0
    while N > 1:
        reverse, v, N = 2 * reverse + v % 2, v // 2, N // 2
    return reverse


@triton.constexpr_function
def tap(offset, i, K, S, D):
    """Return the tap through which pixel i of a quad sees the column `offset` of the quad's window, or -1.

    Pixel i sees i·S + v·D through tap v.
    """
    v = (offset - i * S) // D
    return v if v * D == offset - i * S and 0 <= v < K else -1


@triton.constexpr_function
def seen(offset, K, S, D):
    """Return whether any pixel of a quad sees the column `offset` of the quad's window."""
    return any((offset - i * S) % D == 0 and 0 <= (offset - i * S) // D < K for i in range(4))


@triton.constexpr_function
def reach(K, S, D):
    """Return how many columns lie between the first and the last that a quad sees."""
    return 3 * S + (K - 1) * D + 1


@triton.constexpr_function
def sources(phase, K, S, D):
    """Return the distances from which a pixel of a gradient hears, and through which taps: {distance: tap}.

    Tap v carries x[j·S − p + v·D] to output pixel j, so the gradient at column S·w + φ hears from j = w + e with
    e·S = φ + p − v·D. Only the remainder of φ + p modulo S, the `phase`, decides which taps these are.
    """
    return {(phase - v * D) // S: v for v in range(K) if (phase - v * D) % S == 0}


@triton.constexpr_function
def nearest(phase, K, S, D):
    """Return the least of the distances, 0 if there are none."""
    return min(sources(phase, K, S, D), default=0)


@triton.constexpr_function
def back_reach(phase, K, S, D):
    """Return how many columns lie between the first and the last that a quad of gradients hears from."""
    distances = sources(phase, K, S, D)
    return max(distances) - min(distances) + 4 if distances else 0


@triton.constexpr_function
def back_tap(offset, i, phase, K, S, D):
    """Return the tap through which pixel i hears from the column `offset` of those the quad hears from, or -1."""
    return sources(phase, K, S, D).get(offset - i + nearest(phase, K, S, D), -1)


@triton.constexpr_function
def heard(offset, phase, K, S, D):
    """Return whether any pixel of a quad hears from the column `offset`."""
    return any(back_tap(offset, i, phase, K, S, D) >= 0 for i in range(4))


@triton.jit
def put(columns, i: tl.constexpr, t):
    """Return the tuple with `t` at place i."""
    return columns[:i] + (t,) + columns[i + 1 :]  # noqa: RUF005  (Triton knows no unpacking)


@triton.jit
def add(columns, i: tl.constexpr, t):
    """Return the tuple with `t` added at place i."""
    return put(columns, i, columns[i] + t)
