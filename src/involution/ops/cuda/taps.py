"""The taps of a window: the mapping of pixels and columns to taps, and the kernels of taps in registers."""

from __future__ import annotations

import triton
import triton.language as tl

from involution.ops.cuda.precision import widen


@triton.jit
def unbind(t, N: tl.constexpr, plan: tl.constexpr):
    """[., ., N] → N tensors [., .] of dtype ACC, in bit-reversed order: tensor `place(v, N)` is column v.

    Triton cannot index registers. Halving does not move data: it only names registers.
    """
    if N == 2:
        t = widen(t, plan)
    if N == 1:
        columns = (tl.reshape(t, (t.shape[0], t.shape[1])).to(plan.ACC),)
    else:
        even, odd = tl.split(tl.reshape(t, (t.shape[0], t.shape[1], N // 2, 2)))
        columns = unbind(even, N // 2, plan) + unbind(odd, N // 2, plan)
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


@triton.jit
def put(columns, i: tl.constexpr, t):
    """Return the tuple with `t` at place i."""
    return columns[:i] + (t,) + columns[i + 1 :]  # noqa: RUF005  (Triton lacks unpacking)


@triton.jit
def add(columns, i: tl.constexpr, t):
    """Return the tuple with `t` added at place i."""
    return put(columns, i, columns[i] + t)


@triton.constexpr_function
def place(v, N):
    """Return `v` with its log2(N) bits in reverse order."""
    reverse = 0
    while N > 1:
        reverse, v, N = 2 * reverse + v % 2, v // 2, N // 2
    return reverse


@triton.constexpr_function
def tap(offset, i, plan):
    """Return the tap through which pixel i of a quad reads the column `offset` of the quad's window, or -1.

    Pixel i reads i·S + v·D through tap v.
    """
    v = (offset - i * plan.SW) // plan.DW
    return v if v * plan.DW == offset - i * plan.SW and 0 <= v < plan.KW else -1


@triton.constexpr_function
def reads(offset, plan):
    """Return whether any pixel of a quad reads the column `offset` of the quad's window."""
    S, D, K = plan.SW, plan.DW, plan.KW
    return any((offset - i * S) % D == 0 and 0 <= (offset - i * S) // D < K for i in range(4))


@triton.constexpr_function
def reach(plan):
    """Return the number of columns from the first to the last that a quad reads."""
    return 3 * plan.SW + (plan.KW - 1) * plan.DW + 1


@triton.constexpr_function
def sources(plan):
    """Return which outputs, at which distances, read a pixel of x, and through which taps: {distance: tap}.

    Tap v carries x[j·S − p + v·D] to output pixel j, so column S·w + φ of x is read by j = w + e with
    e·S = φ + p − v·D. Only the remainder of φ + p modulo S, the phase, decides which taps these are.
    """
    S, D = plan.SW, plan.DW
    return {(plan.PHASE - v * D) // S: v for v in range(plan.KW) if (plan.PHASE - v * D) % S == 0}


@triton.constexpr_function
def nearest(plan):
    """Return the least of the distances, 0 if there are none."""
    return min(sources(plan), default=0)


@triton.constexpr_function
def back_reach(plan):
    """Return the number of outputs from the first to the last that read a quad of x."""
    distances = sources(plan)
    return max(distances) - min(distances) + 4 if distances else 0


@triton.constexpr_function
def back_tap(offset, i, plan):
    """Return the tap through which the output `offset` of those reads pixel i of the quad, or -1."""
    return sources(plan).get(offset - i + nearest(plan), -1)


@triton.constexpr_function
def back_reads(offset, plan):
    """Return whether the output `offset` reads any pixel of the quad."""
    return any(back_tap(offset, i, plan) >= 0 for i in range(4))
