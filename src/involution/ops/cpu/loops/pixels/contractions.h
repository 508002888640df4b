// The drivers with lanes over pixels.

// Multiply-adds of a register for one group of a row of windows, `map` being what has their channels.
template <class T>
inline int64_t group_work(const Image& map, const Window& w) {
  return ceil_div(map.width, lanes<T>) * (map.channels / w.groups + 1) * w.taps();
}

// f(group, b, first row, last row + 1) for the ranges of rows of `image` of one thread
template <class T, class F>
void over_groups(const Image& image, const Window& w, int64_t rows_of_windows, const F& f) {
  Division division(w.groups, 1, 1);
  division.parts = w.groups;
  division.grain = kWorthwhile / (product(group_work<T>(image, w), rows_of_windows) + 1) + 1;
  division.over_rows(image, [&](const Part& part, int64_t b, int64_t first, int64_t last) { f(part.index, b, first, last); });
}

// f(maps, x, rows, b) for each group and image, where the maps of x are small: x, and the rows of `map` and `kernel`, of
// this group
template <class T, class F>
void over_small_maps(const Image& x, const Image& map, const Image& kernel, const Window& w, const F& f) {
  const Image line = as_line(map), taps = as_line(kernel);
  const int64_t grain = kWorthwhile / (group_work<T>(line, w) + 1) + 1;
  Division::for_ranges(product(w.groups, x.batch), grain, [&](int64_t begin, int64_t end) {
    ShiftedMaps<T> maps(group_of(x, w, 0), w, map);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t g = i / x.batch;
      GroupRows<T> rows(w, g, line, taps);
      f(maps, group_of(x, w, g), rows, i % x.batch);
    }
  });
}

// The contractions that read x: `work` computes the map from the kernels (`to_map`), or the kernels from the map.
template <class T, class Work>
void read_pixels(const Image& x, const Image& map, const Image& kernel, const Window& w, bool to_map, const Work& work) {
  if (ShiftedMaps<T>::serves(x, w, map, kernel))
    return over_small_maps<T>(x, map, kernel, w, [&](auto& maps, const Image& from, auto& rows, int64_t b) {
      maps.read(from, b);
      rows.over_pixels(maps.at.data, maps, b, 0, !to_map, to_map, work);
    });
  over_groups<T>(map, w, 1, [&](int64_t g, int64_t b, int64_t first, int64_t last) {
    const Image from = group_of(x, w, g);
    InputRows<T, Planes<T>> in(from, w, kernel.width);
    GroupRows<T> rows(w, g, map, kernel);
    for_output_rows(w, first, last, [&](int64_t i) {
      rows.over_pixels(const_cast<T* const*>(in.see(b, i / w.scale_h)), in.layout, b, i, !to_map, to_map, work);
    });
  });
}

template <class T>
void forward_pixels(const Image& x, const Image& kernel, const Window& w, const Image& y) {
  read_pixels<T>(x, y, kernel, w, true, forward_group<T>);
}

template <class T>
void grad_kernel_pixels(const Image& grad, const Image& x, const Window& w, const Image& grad_kernel) {
  read_pixels<T>(x, grad, grad_kernel, w, false, grad_kernel_group<T>);
}

template <class T>
void grad_x_pixels(const Image& grad, const Image& kernel, const Window& w, const Image& grad_x) {
  if (ShiftedMaps<T>::serves(grad_x, w, grad, kernel))
    return over_small_maps<T>(grad_x, grad, kernel, w, [&](auto& maps, const Image& to, auto& rows, int64_t b) {
      maps.clear();
      rows.over_pixels(maps.at.data, maps, b, 0, true, true, grad_x_group<T>);
      maps.write(to, b);
    });
  over_groups<T>(grad_x, w, w.scale_h * w.scale_w, [&](int64_t g, int64_t b, int64_t first, int64_t last) {
    const Image to = group_of(grad_x, w, g);
    GradientRows<T, Planes<T>> out(to, w, kernel.width, b, first, last);
    GroupRows<T> rows(w, g, grad, kernel);
    for_output_rows(w, out.begin() * w.scale_h, out.end(kernel.height) * w.scale_h, [&](int64_t i) {
      rows.over_pixels(out.open(i / w.scale_h), out.layout, b, i, true, true, grad_x_group<T>);
    });
    out.finish();
  });
}
