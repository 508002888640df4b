// Rows of an image, converted to the accumulation type and to the layout of the loops: blocks of one register of
// channels. All conversions of memory layouts and dtypes are in this file.

// The position of pixel w and channel c of a row: data[c / lanes * block + w * pixel + c % lanes].
template <class T>
struct Row {
  T* data;
  int64_t block, pixel;
  T* at(int64_t b, int64_t w) const { return data + b * block + w * pixel; }
};

// Copy `count` elements, Most or fewer, in two pieces that overlap.
template <int Most, class E>
inline void copy_some(E* to, const E* from, int64_t count) {
  if (count >= Most) {
    __builtin_memcpy(to, from, Most * sizeof(E));
    __builtin_memcpy(to + count - Most, from + count - Most, Most * sizeof(E));
  } else if constexpr (Most > 1) {
    copy_some<Most / 2>(to, from, count);
  }
}

template <class T>
inline int64_t blocks(int64_t channels) {
  return (channels + lanes<T> - 1) / lanes<T>;
}

// Read a square of one register's channels and as many pixels, or of two registers' channels and half the pixels, by
// transposing it; pixels from `some` on are beyond the row. Data at `ahead` is prefetched: hardware prefetchers
// do not follow so many planes at once.
template <class T, int Parts, class E>
inline void read_square(const E* from, int64_t stride_c, int64_t some, int64_t ahead, Row<T> row, int64_t k, int64_t p) {
  constexpr int L = lanes<T>, pixels = L / Parts;
  Vector<T> tile[L];
  unroll<L>([&](auto i) {
    tile[i] = load_widened<T>(from + i * stride_c);
    for (int part = 0; part < Parts; ++part) __builtin_prefetch(from + (part * L + i) * stride_c + ahead, 0, 2);
    if constexpr (Parts == 2) tile[i] = pick<T, LowHalves<T>>(tile[i], load_widened<T>(from + (L + i) * stride_c));
  });
  transpose<T>(tile);
  unroll<L>([&](auto i) {
    if (i % pixels < some) store(row.at(k + i / pixels, p + i % pixels), tile[i]);
  });
}

// Read `count` pixels from the image into the row; channels up to the next full register are set to zero.
template <class T, class E>
__attribute__((flatten)) void read_row(const Image& image, int64_t b, int64_t h, int64_t w, int64_t count, Row<T> row) {
  constexpr int L = lanes<T>;
  const E* source = static_cast<const E*>(image.data) + b * image.stride_b + h * image.stride_h + w * image.stride_w;
  const E* end = static_cast<const E*>(image.data) + (image.batch - 1) * image.stride_b +
                 (image.channels - 1) * image.stride_c + (image.height - 1) * image.stride_h +
                 (image.width - 1) * image.stride_w + 1;
  const int64_t sc = image.stride_c, sw = image.stride_w, full = image.channels / L, rest = image.channels % L;
  const int64_t line = 64 / sizeof(E), ahead = 2 * (image.stride_h > line ? image.stride_h : line);
  if (sc == 1) {
    for (int64_t p = 0; p < count; ++p)
      for (int64_t k = 0; k < full; ++k) store(row.at(k, p), load_widened<T>(source + p * sw + k * L));
  } else {
    for (int64_t k = 0; k < full;) {
      const E* from = source + k * L * sc;
      // A register may extend beyond the row, but not beyond the image.
      const auto inside = [&](int64_t p, int parts) { return from + (L * parts - 1) * sc + p + L <= end; };
      const bool pair = sw == 1 && count <= L / 2 && k + 2 <= full && inside(0, 2);
      int64_t p = 0;
      if (pair)
        for (; p < count; p += L / 2) read_square<T, 2>(from + p, sc, count - p, ahead, row, k, p);
      else
        for (; sw == 1 && p < count && inside(p, 1); p += L) read_square<T, 1>(from + p, sc, count - p, ahead, row, k, p);
      for (; p < count; ++p)
        for (int lane = 0; lane < L; ++lane) row.at(k, p)[lane] = widen(from[lane * sc + p * sw]);
      k += pair ? 2 : 1;
    }
  }
  if (rest)
    for (int64_t p = 0; p < count; ++p) {
      store(row.at(full, p), Vector<T>{});
      for (int64_t lane = 0; lane < rest; ++lane)
        row.at(full, p)[lane] = widen(source[(full * L + lane) * sc + p * sw]);
    }
}

// Write rows back to the image.
template <class T, class E>
__attribute__((flatten)) void write_row(const Image& image, int64_t b, int64_t h, Row<T> row) {
  constexpr int L = lanes<T>;
  E* target = static_cast<E*>(image.data) + b * image.stride_b + h * image.stride_h;
  const int64_t sc = image.stride_c, sw = image.stride_w, full = image.channels / L, rest = image.channels % L;
  const int64_t count = image.width;
  if (sc == 1) {
    for (int64_t p = 0; p < count; ++p)
      for (int64_t k = 0; k < full; ++k) store_narrowed<T>(target + p * sw + k * L, load(row.at(k, p)));
  } else {
    for (int64_t k = 0; k < full; ++k) {
      E* to = target + k * L * sc;
      int64_t p = 0;
      for (; sw == 1 && p < count; p += L) {
        Vector<T> tile[L] = {};
        unroll<L>([&](auto i) {
          if (p + i < count) tile[i] = load(row.at(k, p + i));
        });
        transpose<T>(tile);
        if (p + L <= count) {
          unroll<L>([&](auto i) { store_narrowed<T>(to + i * sc + p, tile[i]); });
        } else {
          for (int i = 0; i < L; ++i) {
            E some[L];
            store_narrowed<T>(some, tile[i]);
            copy_some<L / 2>(to + i * sc + p, some, count - p);
          }
        }
      }
      for (; p < count; ++p)
        for (int lane = 0; lane < L; ++lane) to[lane * sc + p * sw] = narrow<E>(row.at(k, p)[lane]);
    }
  }
  for (int64_t p = 0; p < count; ++p)
    for (int64_t lane = 0; lane < rest; ++lane)
      target[(full * L + lane) * sc + p * sw] = narrow<E>(row.at(full, p)[lane]);
}

template <class T>
using ReadRow = void (*)(const Image&, int64_t b, int64_t h, int64_t w, int64_t count, Row<T>);
template <class T>
using WriteRow = void (*)(const Image&, int64_t b, int64_t h, Row<T>);

template <class T>
ReadRow<T> reader(Dtype dtype) {
  if constexpr (__is_same(T, double)) return read_row<double, double>;
  else if (dtype == Dtype::bfloat16) return read_row<float, bfloat16>;
  else if (dtype == Dtype::float16) return read_row<float, float16>;
  else return read_row<float, float>;
}

template <class T>
WriteRow<T> writer(Dtype dtype) {
  if constexpr (__is_same(T, double)) return write_row<double, double>;
  else if (dtype == Dtype::bfloat16) return write_row<float, bfloat16>;
  else if (dtype == Dtype::float16) return write_row<float, float16>;
  else return write_row<float, float>;
}
