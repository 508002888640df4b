// The three contractions over the windows of a few neighbouring pixels and one register of channels. All the
// arithmetic of an involution is in this file.
//
// `Shared` says that all lanes of the register belong to one group, so that a tap is one number, broadcast; otherwise
// taps are expanded to one number a lane. KW and S are the window's width and stride if known when compiling (dilation
// is then 1); KW = 0 reads all three from the window. `ahead` is the distance to the taps of the next row, which are
// prefetched, because hardware prefetchers do not detect pieces so short; 0 where they are in cache.

#define INVOLUTION_LOOP __attribute__((flatten, noinline))

// Prefetch the taps of some of the J pixels ahead, so that all are prefetched by the end of the window's last row.
template <class T, int J>
inline void prefetch(const T* taps, int64_t taps_pixel, int64_t ahead, const Window& w, int64_t u, int64_t& pixel) {
  if (!ahead) return;
  for (; pixel * w.kh < J * (u + 1); ++pixel)
    for (int64_t t = 0; t < w.taps(); t += 64 / sizeof(T))
      __builtin_prefetch(taps + ahead + pixel * taps_pixel + t, 0, 2);
}

template <class T, bool Shared>
inline Vector<T> tap(const T* taps, int64_t index) {
  if constexpr (Shared) return broadcast(taps[index]);
  else return load(taps + index * lanes<T>);
}

// y[j] = sum over taps (u, v) of taps[j][u, v] * rows[u][j·s + v·d]
template <class T, bool Shared, int KW, int S, int J>
INVOLUTION_LOOP void forward_tile(const T* const* rows, const T* taps, int64_t taps_pixel, int64_t ahead,
                                  const Window& w, T* y, int64_t y_pixel) {
  constexpr int L = lanes<T>;
  const int64_t unit = Shared ? 1 : L, kw = KW ? KW : w.kw;
  Vector<T> sum[J] = {};
  int64_t asked = 0;
  for (int64_t u = 0; u < w.kh; ++u) {
    const T* row = rows[u];
    const T* at = taps + u * kw * unit;
    prefetch<T, J>(taps, taps_pixel, ahead, w, u, asked);
    if constexpr (KW != 0) {
      unroll<(J - 1) * S + KW>([&](auto column) {
        const Vector<T> x = load(row + column * L);
        unroll<KW>([&](auto v) {
          constexpr int first = column.value - v.value;
          if constexpr (first >= 0 && first % S == 0 && first / S < J)
            sum[first / S] += tap<T, Shared>(at + first / S * taps_pixel, v) * x;
        });
      });
    } else {
      for (int64_t v = 0; v < kw; ++v)
        unroll<J>([&](auto j) {
          const Vector<T> x = load(row + (j * w.stride_w + v * w.dilation_w) * L);
          sum[j] += tap<T, Shared>(at + j * taps_pixel, v) * x;
        });
    }
  }
  unroll<J>([&](auto j) { store(y + j * y_pixel, sum[j]); });
}

// rows[u][j·s + v·d] += taps[j][u, v] * grad[j], for the rows that are not null
template <class T, bool Shared, int KW, int S, int J>
INVOLUTION_LOOP void grad_x_tile(T* const* rows, const T* taps, int64_t taps_pixel, int64_t ahead, const Window& w,
                                 const T* grad, int64_t grad_pixel) {
  constexpr int L = lanes<T>;
  const int64_t unit = Shared ? 1 : L, kw = KW ? KW : w.kw;
  int64_t asked = 0;
  for (int64_t u = 0; u < w.kh; ++u) {
    T* row = rows[u];
    prefetch<T, J>(taps, taps_pixel, ahead, w, u, asked);
    if (!row) continue;
    const T* at = taps + u * kw * unit;
    if constexpr (KW != 0) {
      constexpr int columns = (J - 1) * S + KW;
      Vector<T> sum[columns];
      unroll<columns>([&](auto column) { sum[column] = load(row + column * L); });
      unroll<J>([&](auto j) {
        const Vector<T> g = load(grad + j * grad_pixel);
        unroll<KW>([&](auto v) { sum[j * S + v] += tap<T, Shared>(at + j * taps_pixel, v) * g; });
      });
      unroll<columns>([&](auto column) { store(row + column * L, sum[column]); });
    } else {
      for (int64_t v = 0; v < kw; ++v)
        unroll<J>([&](auto j) {
          T* to = row + (j * w.stride_w + v * w.dilation_w) * L;
          store(to, load(to) + tap<T, Shared>(at + j * taps_pixel, v) * load(grad + j * grad_pixel));
        });
    }
  }
}

// taps[t] = sum over the channels of one group of columns[t] * grad, for all taps of one pixel. The group fills `count`
// registers, `x_block` and `grad_block` apart.
template <class T>
INVOLUTION_LOOP void grad_kernel_pixel(const T* const* columns, int64_t offset, int64_t x_block, const T* grad,
                                       int64_t grad_block, int64_t count, int64_t taps, T* out) {
  constexpr int L = lanes<T>;
  const auto products = [&](int64_t t) {
    Vector<T> product = load(columns[t] + offset) * load(grad);
    for (int64_t k = 1; k < count; ++k) product += load(columns[t] + offset + k * x_block) * load(grad + k * grad_block);
    return product;
  };
  int64_t t = 0;
  for (; t + L <= taps; t += L) {
    Vector<T> rows[L];
    if (count == 1)
      unroll<L>([&](auto i) { rows[i] = load(columns[t + i] + offset) * load(grad); });
    else
      for (int i = 0; i < L; ++i) rows[i] = products(t + i);
    store(out + t, sum_lanes<T>(rows));
  }
  if (taps - t > 2) {
    Vector<T> rows[L];
    unroll<L>([&](auto i) { rows[i] = t + i < taps ? products(t + i) : Vector<T>{}; });
    T sums[L];
    store(sums, sum_lanes<T>(rows));
    copy_some<L / 2>(out + t, sums, taps - t);
  } else {
    for (; t < taps; ++t) out[t] = sum<T>(products(t));
  }
}

// The same for groups that do not fill registers: lane by lane.
template <class T>
INVOLUTION_LOOP void grad_kernel_lanes(const T* const* columns, int64_t offset, int64_t x_block, const T* grad,
                                       int64_t grad_block, int64_t channels, int64_t group_channels, int64_t taps,
                                       T* out) {
  constexpr int L = lanes<T>;
  for (int64_t i = 0; i < channels / group_channels * taps; ++i) out[i] = 0;
  for (int64_t k = 0; k * L < channels; ++k) {
    const Vector<T> g = load(grad + k * grad_block);
    const int64_t some = channels - k * L < L ? channels - k * L : L;
    for (int64_t t = 0; t < taps; ++t) {
      const Vector<T> product = load(columns[t] + offset + k * x_block) * g;
      for (int64_t lane = 0; lane < some; ++lane) out[(k * L + lane) / group_channels * taps + t] += product[lane];
    }
  }
}

// out[m][n] (+)= sum over k of a[m][k] * b[k][n] for M rows and N registers of columns, `b_block` apart in b.
template <class T, int M, int N>
INVOLUTION_LOOP void multiply(const T* a, int64_t a_row, int64_t a_column, const T* b, int64_t b_row, int64_t b_block,
                              int64_t depth, bool add, T* out, int64_t out_row) {
  constexpr int L = lanes<T>;
  Vector<T> sum[M][N] = {};
  if (add) unroll<M>([&](auto m) { unroll<N>([&](auto n) { sum[m][n] = load(out + m * out_row + n * L); }); });
  for (int64_t k = 0; k < depth; ++k) {
    Vector<T> row[N];
    unroll<N>([&](auto n) { row[n] = load(b + k * b_row + n * b_block); });
    unroll<M>([&](auto m) {
      const Vector<T> factor = broadcast(a[m * a_row + k * a_column]);
      unroll<N>([&](auto n) { sum[m][n] += factor * row[n]; });
    });
  }
  unroll<M>([&](auto m) { unroll<N>([&](auto n) { store(out + m * out_row + n * L, sum[m][n]); }); });
}

// Tiles: pixels per call. The widest tile that the registers hold; 7 because the maps of a 224-pixel image
// are multiples of 7 wide; 1 for the remainder.
constexpr int kTiles = 3;
constexpr int kTile[kTiles] = {INVOLUTION_WIDE_TILE, 7, 1};

template <class T>
using ForwardTile = decltype(&forward_tile<T, true, 0, 1, 1>);
template <class T>
using GradXTile = decltype(&grad_x_tile<T, true, 0, 1, 1>);

template <class T>
struct Loops {
  ForwardTile<T> forward[kTiles];
  GradXTile<T> grad_x[kTiles];
};

template <class T, bool Shared, int KW, int S>
constexpr Loops<T> loops() {
  // A wide tile of the strided gradient would need more sums than there are registers.
  constexpr int wide = S == 1 ? kTile[0] : kTile[1];
  return {{forward_tile<T, Shared, KW, S, kTile[0]>, forward_tile<T, Shared, KW, S, kTile[1]>,
           forward_tile<T, Shared, KW, S, kTile[2]>},
          {wide == kTile[0] ? grad_x_tile<T, Shared, KW, S, wide> : nullptr, grad_x_tile<T, Shared, KW, S, kTile[1]>,
           grad_x_tile<T, Shared, KW, S, kTile[2]>}};
}

template <class T, bool Shared>
Loops<T> choose(const Window& w) {
  if (w.dilation_w == 1 && w.stride_w == 1) switch (w.kw) {
      case 3: return loops<T, Shared, 3, 1>();
      case 5: return loops<T, Shared, 5, 1>();
      case 7: return loops<T, Shared, 7, 1>();
      case 9: return loops<T, Shared, 9, 1>();
    }
  if (w.dilation_w == 1 && w.stride_w == 2) switch (w.kw) {
      case 3: return loops<T, Shared, 3, 2>();
      case 5: return loops<T, Shared, 5, 2>();
      case 7: return loops<T, Shared, 7, 2>();
      case 9: return loops<T, Shared, 9, 2>();
    }
  return loops<T, Shared, 0, 1>();
}

// f(tile index, first pixel) for tiles that cover `width` pixels. With `overlap` the last tile may repeat pixels.
template <class Fns, class F>
inline void for_tiles(const Fns& functions, int64_t width, bool overlap, const F& f) {
  int64_t done = 0;
  for (int tile = 0; tile < kTiles; ++tile) {
    if (!functions[tile]) continue;
    for (; done + kTile[tile] <= width; done += kTile[tile]) f(tile, done);
    if (overlap && done && done < width && kTile[tile] > 1 && tile + 1 < kTiles && kTile[tile + 1] == 1) {
      f(tile, width - kTile[tile]);
      return;
    }
  }
}
