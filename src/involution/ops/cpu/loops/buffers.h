// Row buffers of a thread: rows in place or copied, several rows of kernels at once, and rings of the rows in windows.

// Windows that read rows of the same residue modulo the dilation form a phase: row i of windows is in i % phases.
inline int64_t phases(const Window& w) { return w.dilation_h / gcd(w.dilation_h, w.stride_h); }

// f(i) for output rows [begin, end), phase by phase: Kh rows of x are then enough for any dilation.
template <class F>
inline void for_output_rows(const Window& w, int64_t begin, int64_t end, const F& f) {
  const int64_t step = phases(w), scale = w.scale_h;
  const int64_t first = begin / scale, last = (end - 1) / scale;  // rows of windows
  for (int64_t phase = first; begin < end && phase <= last && phase < first + step; ++phase)
    for (int64_t row = phase; row <= last; row += step)
      for (int64_t i = row * scale; i < (row + 1) * scale; ++i)
        if (i >= begin && i < end) f(i);
}

// One row of an image as [pixels][channels]: in place if memory already has this layout, else copied.
template <class T>
struct PixelRow {
  const Image& image;
  const bool in_place;
  Scratch<T> copy;
  Row<T> row;

  // `extra`: space for further channels after those of the image; `rows`: number of rows
  explicit PixelRow(const Image& image, bool whole_registers, int64_t extra = 0, int64_t rows = 1)
      : image(image),
        in_place(!extra && image.stride_c == 1 && is_native(image.dtype) &&
                 !(whole_registers && image.channels % lanes<T>)),
        copy(in_place ? 0 : product(rows, image.width, padded(extra))),
        row{copy.data, lanes<T>, padded(extra)} {}

  int64_t padded(int64_t extra) const { return blocks<T>(image.channels + extra) * lanes<T>; }
  static bool is_native(Dtype dtype) { return dtype == (sizeof(T) == 8 ? Dtype::float64 : Dtype::float32); }
  // `at_h`, `at_w`: the output pixel of a window, in images with a scale
  Row<T> place(int64_t b, int64_t h, int64_t at_h = 0, int64_t at_w = 0) const {
    if (!in_place) return row;
    T* data = static_cast<T*>(image.data) + b * image.stride_b + h * image.stride_h;
    return {data + at_h * image.step_h + at_w * image.step_w, lanes<T>, image.stride_w};
  }
  Row<T> read(int64_t b, int64_t h) const {
    if (!in_place) reader<T>(image.dtype)(image, b, h, 0, image.width, row);
    return place(b, h);
  }
  // Distance to the next row in elements, or 0 if rows are copied.
  int64_t ahead() const { return in_place ? image.stride_h : 0; }
  void write(int64_t b, int64_t h, int64_t at_h = 0, int64_t at_w = 0) const {
    if (!in_place) writer<T>(image.dtype)(image.at(at_h, at_w), b, h, row);
  }
};

// Rows of kernels. If they are planes in memory, rows of about 64 pixels are read together: a thread then reads a
// register's planes over several lines, which hardware prefetchers detect, and not all planes over one line.
template <class T>
struct KernelRows : PixelRow<T> {
  const int64_t together, scale;  // rows read at once; output rows per row of windows
  const bool scaled;
  int64_t b = -1, first = 0, end = 0;  // rows [first, end) of image b are loaded

  KernelRows(const Image& kernel, const Window& w)
      : PixelRow<T>(kernel, false, 0, together_in(kernel, w)), together(together_in(kernel, w)), scale(w.scale_h), scaled(w.scale_h * w.scale_w > 1) {}

  static int64_t together_in(const Image& kernel, const Window& w) {
    const bool planes = kernel.stride_w == 1 && kernel.stride_h == kernel.width;
    return planes && kernel.width < 64 && phases(w) == 1 && w.scale_h * w.scale_w == 1 ? 64 / kernel.width : 1;
  }

  // Row i of those before `last`, of output column `at` of every window.
  Row<T> read(int64_t image, int64_t i, int64_t at, int64_t last) {
    if (this->in_place) return this->place(image, i / scale, i % scale, at);
    if (scaled) {
      reader<T>(this->image.dtype)(this->image.at(i % scale, at), image, i / scale, 0, this->image.width, this->row);
      return this->row;
    }
    const int64_t width = this->image.width;
    if (image != b || i < first || i >= end) {
      b = image, first = i, end = last - i < together ? last : i + together;
      reader<T>(this->image.dtype)(this->image, b, first, 0, (end - first) * width, this->row);
    }
    return {this->row.at(0, (i - first) * width), this->row.block, this->row.pixel};
  }
};

// The layout of a padded row of an image in blocks of one register of channels.
template <class T>
struct Blocks {
  const Window& w;
  const int64_t columns, size;  // pixels and elements of a row

  Blocks(const Image& image, const Window& w, int64_t columns)
      : w(w), columns(columns), size(product(blocks<T>(image.channels), columns, lanes<T>)) {}
  int64_t block() const { return columns * lanes<T>; }
  Row<T> inside(T* data) const { return {data + w.pad_w * lanes<T>, block(), lanes<T>}; }
  void read(const Image& image, int64_t b, int64_t h, int64_t count, T* data) const {
    reader<T>(image.dtype)(image, b, h, 0, count, inside(data));
  }
  void write(const Image& image, int64_t b, int64_t h, T* data) const {
    writer<T>(image.dtype)(image, b, h, inside(data));
  }
};

// The rows of x that the windows of one output row read, or those of a few rows of windows, with zero padding. Row h stays
// in slot h / d % slots until a later row of its residue modulo d takes the slot.
template <class T, class Layout = Blocks<T>>
struct InputRows {
  const Image& x;
  const Window& w;
  const int64_t width, columns, slots;  // windows of an output row; pixels of a padded row; rows that are held
  const Layout layout;
  Scratch<T> memory;  // the slots, followed by a row of zeros
  Scratch<const T*> rows;
  Scratch<int64_t> held;  // the row in each slot, or -1
  const int64_t b;        // of this image

  InputRows(const Image& x, const Window& w, int64_t windows, int64_t b, int64_t together = 1)
      : x(x),
        w(w),
        width(windows),
        columns((windows - 1) * w.stride_w + (w.kw - 1) * w.dilation_w + 1),
        slots(w.kh + (together - 1) * w.stride_h),
        layout(x, w, columns),
        memory(product(slots + 1, layout.size), true),
        rows(product(together, w.kh)),
        held(slots),
        b(b) {
    for (int64_t slot = 0; slot < slots; ++slot) held.data[slot] = -1;
  }

  int64_t block() const { return layout.block(); }

  // Pointers to the rows read by row i of windows, followed by those of the next rows, `count` in all. In the order of
  // `for_output_rows` every row of x is read once.
  const T* const* see(int64_t i, int64_t count = 1) {
    const T** at = rows.data;
    for (const int64_t end = i + count; i < end; ++i)
      for (int64_t u = 0; u < w.kh; ++u) {
        const int64_t h = i * w.stride_h - w.pad_h + u * w.dilation_h;
        *at++ = memory.data + (h >= 0 && h < x.height ? slot_of(h) : slots) * layout.size;
      }
    return rows.data;
  }

 private:
  int64_t slot_of(int64_t h) {
    const int64_t slot = h / w.dilation_h % slots;
    if (held.data[slot] != h) {
      held.data[slot] = h;
      const int64_t room = columns - w.pad_w, count = x.width < room ? x.width : room;
      if (count > 0) layout.read(x, b, h, count, memory.data + slot * layout.size);
    }
    return slot;
  }
};

// The rows of the gradient of x that output rows still add to, in slots as above. A row is written when a later one
// takes its slot, and the rows that no window touches at the end.
template <class T, class Layout = Blocks<T>>
struct GradientRows {
  const Image& grad_x;
  const Window& w;
  const Layout layout;
  Scratch<T> memory;
  Scratch<T*> rows;
  Scratch<int64_t> held;
  const int64_t b, first, last;  // this buffer has rows [first, last) of image b
  Scratch<bool> written;

  GradientRows(const Image& grad_x, const Window& w, int64_t windows, int64_t b, int64_t first, int64_t last)
      : grad_x(grad_x),
        w(w),
        layout(grad_x, w,
               larger(grad_x.width + w.pad_w, (windows - 1) * w.stride_w + (w.kw - 1) * w.dilation_w + 1)),
        memory(product(w.kh, layout.size), true),
        rows(w.kh),
        held(w.kh),
        b(b),
        first(first),
        last(last),
        written(last - first, true) {
    for (int64_t slot = 0; slot < w.kh; ++slot) held.data[slot] = -1;
  }

  static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
  int64_t block() const { return layout.block(); }

  // The rows of windows that these rows depend on.
  int64_t begin() const {
    const int64_t i = first + w.pad_h - (w.kh - 1) * w.dilation_h;
    return i > 0 ? (i + w.stride_h - 1) / w.stride_h : 0;
  }
  int64_t end(int64_t windows) const {
    const int64_t i = (last - 1 + w.pad_h) / w.stride_h + 1;
    return i < windows ? i : windows;
  }

  // Pointers to the rows that row i of windows adds to, null outside [first, last). The order must be that of
  // `for_output_rows`.
  T* const* open(int64_t i) {
    for (int64_t u = 0; u < w.kh; ++u) {
      const int64_t h = i * w.stride_h - w.pad_h + u * w.dilation_h;
      rows.data[u] = h >= first && h < last ? memory.data + slot_of(h) * layout.size : nullptr;
    }
    return rows.data;
  }

  void finish() {
    for (int64_t slot = 0; slot < w.kh; ++slot) write(slot);
    for (int64_t h = first; h < last; ++h)
      if (!written.data[h - first]) held.data[0] = h, write(0);
  }

 private:
  int64_t slot_of(int64_t h) {
    const int64_t slot = h / w.dilation_h % w.kh;
    if (held.data[slot] != h) write(slot);
    held.data[slot] = h;
    return slot;
  }

  // Write the row in a slot, if there is one, and reset the slot to zero.
  void write(int64_t slot) {
    const int64_t h = held.data[slot];
    if (h < 0) return;
    T* data = memory.data + slot * layout.size;
    layout.write(grad_x, b, h, data);
    __builtin_memset(data, 0, layout.size * sizeof(T));
    written.data[h - first] = true;
    held.data[slot] = -1;
  }
};
