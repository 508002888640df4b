// Batch normalization in training, with the shortcut and the ReLU after it, of maps [pixels][channels] in float32.
//
// A map of a large batch stays in no near cache, so the time is that of reading and writing it. Forward, it is read for
// the statistics and for the output; backward, for two sums and for the gradient. ReLU and shortcut need no pass of
// their own.

constexpr int64_t kColumns = 64, kShares = 64;

// A map as rows: a pixel each or, if pixels have few channels, some neighbouring pixels.
struct NormRows {
  const int64_t channels, columns, count, shares, grain;

  explicit NormRows(const Norm& n)
      : channels(n.channels),
        columns(channels * together(n)),
        count(n.pixels * channels / columns),
        shares(count < 32 * kShares ? ceil_div(count, 32) : kShares),
        grain(kWorthwhile / (n.pixels * channels / (shares * lanes<float>) + 1) + 1) {}

  static int64_t together(const Norm& n) {
    int64_t pixels = 1;
    while (2 * pixels * n.channels <= kColumns && n.pixels % (2 * pixels) == 0) pixels *= 2;
    return pixels;
  }

  WrittenRows written(const float* map) const { return {map, count, columns}; }

  // f(position of the row, share, memory for a row) for all rows. The shares do not depend on the number of threads, so
  // neither do sums.
  template <class F>
  void over(const F& f) const {
    Division::for_ranges(shares, grain, [&](int64_t begin, int64_t end) {
      const Scratch<float> line(columns);
      for (int64_t share = begin; share < end; ++share)
        for (int64_t row = count * share / shares; row < count * (share + 1) / shares; ++row)
          f(row * columns, share, line.data);
      finish_streams();
    });
  }

  // Two sums per channel, to which f(position, first, second, memory for a row) adds a row.
  template <class F>
  void sum(double* totals, const F& f) const {
    const Scratch<float> sums(product(shares, 2, columns), true);
    over([&](int64_t at, int64_t share, float* line) {
      float* const first = sums.data + share * 2 * columns;
      f(at, first, first + columns, line);
    });
    for (int64_t k = 0; k < 2 * channels; ++k) totals[k] = 0;
    for (int64_t half = 0; half < 2 * shares; ++half)
      for (int64_t k = 0; k < columns; k += channels) {
        const float* __restrict from = sums.data + half * columns + k;
        double* __restrict to = totals + half % 2 * channels;
        for (int64_t c = 0; c < channels; ++c) to[c] += from[c];
      }
  }

  // The values of the channels, repeated for every pixel of a row.
  void repeat(const float* values, float* row) const {
    for (int64_t k = 0; k < columns; k += channels) __builtin_memcpy(row + k, values, channels * sizeof(float));
  }
};

// What the loops need of every column.
struct NormColumns {
  Scratch<float> memory;
  float *const mean, *const scale, *const bias;

  NormColumns(const Norm& n, const NormRows& rows)
      : memory(product(3, rows.columns)),
        mean(memory.data),
        scale(mean + rows.columns),
        bias(scale + rows.columns) {
    for (int64_t c = 0; c < n.channels; ++c) scale[c] = float(n.weight[c] / __builtin_sqrt(n.var[c] + n.eps));
    rows.repeat(n.mean, mean);
    rows.repeat(n.bias, bias);
    for (int64_t k = n.channels; k < rows.columns; ++k) scale[k] = scale[k - n.channels];
  }
};

// Sums of the differences from an estimate of the mean: squares of the values themselves would cancel.
inline void statistics(const Norm& n, const NormRows& rows) {
  const Scratch<float> estimate(rows.columns, true);
  constexpr int64_t samples = 16;
  for (int64_t s = 0; s < samples; ++s)
    for (int64_t c = 0; c < n.channels; ++c)
      estimate.data[c] += n.x[n.pixels * s / samples * n.channels + c] / samples;
  for (int64_t k = n.channels; k < rows.columns; ++k) estimate.data[k] = estimate.data[k - n.channels];
  const Scratch<double> totals(2 * n.channels);
  rows.sum(totals.data, [&](int64_t at, float* __restrict first, float* __restrict second, float*) {
    const float *__restrict x = n.x + at, *__restrict center = estimate.data;
    for (int64_t k = 0; k < rows.columns; ++k) {
      const float d = x[k] - center[k];
      first[k] += d, second[k] += d * d;
    }
  });
  for (int64_t c = 0; c < n.channels; ++c) {
    const double d = totals.data[c] / n.pixels, var = totals.data[n.channels + c] / n.pixels - d * d;
    n.mean[c] = float(estimate.data[c] + d);
    n.var[c] = float(var < 0 ? 0 : var);  // a NaN stays
  }
}

template <bool Relu, bool Shortcut>
void normalize(const Norm& n, const NormRows& rows) {
  const NormColumns columns(n, rows);
  const WrittenRows written = rows.written(n.y);
  rows.over([&](int64_t at, int64_t, float* line) {
    const float *__restrict x = n.x + at, *__restrict shortcut = Shortcut ? n.shortcut + at : nullptr;
    const float *__restrict mean = columns.mean, *__restrict scale = columns.scale, *__restrict bias = columns.bias;
    float* __restrict y = written.place(n.y + at, line);
    for (int64_t k = 0; k < rows.columns; ++k) {
      float value = (x[k] - mean[k]) * scale[k] + bias[k];
      if constexpr (Shortcut) value += shortcut[k];
      y[k] = Relu && value <= 0 ? 0 : value;  // a NaN stays
    }
    written.put(n.y + at, y);
  });
}

inline void batch_norm(const Norm& n) {
  const NormRows rows(n);
  statistics(n, rows);
  (n.shortcut ? normalize<true, true> : n.relu ? normalize<true, false> : normalize<false, false>)(n, rows);
}

// The gradient before the ReLU: the sign of the output is computed again or, with a shortcut, read from y. With a
// shortcut the first pass writes this gradient, because it is that of the shortcut.
template <bool Relu, bool Shortcut>
void backward(const Norm& n, const NormGrads& grads, const NormRows& rows) {
  const NormColumns columns(n, rows);
  const float *__restrict mean = columns.mean, *__restrict scale = columns.scale, *__restrict bias = columns.bias;
  const auto before = [=](float grad, float x, int64_t k) {
    return Relu && !Shortcut && (x - mean[k]) * scale[k] + bias[k] <= 0 ? 0 : grad;
  };
  const Scratch<double> totals(2 * n.channels);
  const WrittenRows written_shortcut = rows.written(grads.shortcut), written_x = rows.written(grads.x);
  rows.sum(totals.data, [&](int64_t at, float* __restrict first, float* __restrict second, float* line) {
    const float *__restrict x = n.x + at, *__restrict grad = grads.grad + at;
    const float* __restrict y = Shortcut ? n.y + at : nullptr;
    float* __restrict shortcut = Shortcut ? written_shortcut.place(grads.shortcut + at, line) : nullptr;
    prefetch(grad + kAhead, rows.columns);
    for (int64_t k = 0; k < rows.columns; ++k) {
      float g = before(grad[k], x[k], k);
      if constexpr (Shortcut) shortcut[k] = g = y[k] <= 0 ? 0 : g;
      first[k] += g, second[k] += g * (x[k] - mean[k]);
    }
    if constexpr (Shortcut) written_shortcut.put(grads.shortcut + at, shortcut);
  });
  const Scratch<float> memory(product(2, rows.columns));
  float *__restrict slope = memory.data, *__restrict offset = slope + rows.columns;
  for (int64_t c = 0; c < n.channels; ++c) {
    const double sum = totals.data[c], moment = totals.data[n.channels + c], precision = 1 / (n.var[c] + n.eps);
    grads.weight[c] = float(moment * __builtin_sqrt(precision));
    grads.bias[c] = float(sum);
    slope[c] = float(moment * precision / n.pixels);
    offset[c] = float(sum / n.pixels);
  }
  for (int64_t k = n.channels; k < 2 * rows.columns; ++k)
    if (k % rows.columns >= n.channels) memory.data[k] = memory.data[k - n.channels];
  rows.over([&](int64_t at, int64_t, float* line) {
    const float *__restrict x = n.x + at, *__restrict grad = (Shortcut ? grads.shortcut : grads.grad) + at;
    float* __restrict grad_x = written_x.place(grads.x + at, line);
    prefetch(grad + kAhead, rows.columns);
    for (int64_t k = 0; k < rows.columns; ++k)
      grad_x[k] = scale[k] * (before(grad[k], x[k], k) - offset[k] - (x[k] - mean[k]) * slope[k]);
    written_x.put(grads.x + at, grad_x);
  });
}

inline void batch_norm_backward(const Norm& n, const NormGrads& grads) {
  const NormRows rows(n);
  (grads.shortcut ? backward<true, true> : n.relu ? backward<true, false> : backward<false, false>)(n, grads, rows);
}
