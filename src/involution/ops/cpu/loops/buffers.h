// The rows that a thread holds: in place or copied, kernels some rows at once, and the rings of rows that windows see.

// One row of an image as [pixels][channels]: in place if memory already has it so, else copied.
template <class T>
struct PixelRow {
  const Image& image;
  const bool in_place;
  Scratch<T> copy;
  Row<T> row;

  // `extra`: room for further channels behind those of the image; `rows`: for so many rows
  explicit PixelRow(const Image& image, bool whole_registers, int64_t extra = 0, int64_t rows = 1)
      : image(image),
        in_place(!extra && image.stride_c == 1 && is_native(image.dtype) &&
                 !(whole_registers && image.channels % lanes<T>)),
        copy(in_place ? 0 : rows * image.width * padded(extra)),
        row{copy.data, lanes<T>, padded(extra)} {}

  int64_t padded(int64_t extra) const { return blocks<T>(image.channels + extra) * lanes<T>; }
  static bool is_native(Dtype dtype) { return dtype == (sizeof(T) == 8 ? Dtype::float64 : Dtype::float32); }
  Row<T> place(int64_t b, int64_t h) const {
    if (!in_place) return row;
    return {static_cast<T*>(image.data) + b * image.stride_b + h * image.stride_h, lanes<T>, image.stride_w};
  }
  Row<T> read(int64_t b, int64_t h) const {
    if (!in_place) reader<T>(image.dtype)(image, b, h, 0, image.width, row);
    return place(b, h);
  }
  // Distance to the next row in elements, or 0 if rows are copied.
  int64_t ahead() const { return in_place ? image.stride_h : 0; }
  void write(int64_t b, int64_t h) const {
    if (!in_place) writer<T>(image.dtype)(image, b, h, row);
  }
};

// Rows of kernels. Where memory has them as planes, rows of some 64 pixels are read together: a thread then follows a
// register's planes over several lines, which processors foresee, and not all planes over one line.
template <class T>
struct KernelRows : PixelRow<T> {
  const int64_t together;
  int64_t b = -1, first = 0, end = 0;  // rows [first, end) of image b are here

  explicit KernelRows(const Image& kernel)
      : PixelRow<T>(kernel, false, 0, together_in(kernel)), together(together_in(kernel)) {}

  static int64_t together_in(const Image& kernel) {
    const bool planes = kernel.stride_w == 1 && kernel.stride_h == kernel.width;
    return planes && kernel.width < 64 ? 64 / kernel.width : 1;
  }

  // Row i of those before `last`.
  Row<T> read(int64_t image, int64_t i, int64_t last) {
    if (this->in_place) return this->place(image, i);
    const int64_t width = this->image.width;
    if (image != b || i < first || i >= end) {
      b = image, first = i, end = last - i < together ? last : i + together;
      reader<T>(this->image.dtype)(this->image, b, first, 0, (end - first) * width, this->row);
    }
    return {this->row.at(0, (i - first) * width), this->row.block, this->row.pixel};
  }
};

// The rows of x that the windows of one output row see, with the zeros around the image.
template <class T>
struct InputRows {
  const Image& x;
  const Window& w;
  const int64_t width, columns, ring, size;  // columns: pixels of a padded row; size: its elements
  Scratch<T> memory;                         // ring rows and, behind them, one of zeros
  Scratch<const T*> rows;
  int64_t b = -1, next = 0;

  InputRows(const Image& x, const Window& w, int64_t out_width)
      : x(x),
        w(w),
        width(out_width),
        columns((out_width - 1) * w.stride_w + (w.kw - 1) * w.dilation_w + 1),
        ring((w.kh - 1) * w.dilation_h + 1),
        size(blocks<T>(x.channels) * columns * lanes<T>),
        memory((ring + 1) * size),
        rows(w.kh) {
    memory.zero((ring + 1) * size);
  }

  int64_t block() const { return columns * lanes<T>; }

  // Pointers to the kh rows seen by output row i, which must not decrease within an image.
  const T* const* see(int64_t image, int64_t i) {
    const int64_t top = i * w.stride_h - w.pad_h, bottom = top + ring - 1;
    if (image != b) next = 0, b = image;
    if (next < top) next = top;
    const int64_t room = columns - w.pad_w, count = x.width < room ? x.width : room;
    for (; next <= bottom && next < x.height; ++next) {
      T* data = memory.data + next % ring * size + w.pad_w * lanes<T>;
      if (count > 0) reader<T>(x.dtype)(x, b, next, 0, count, Row<T>{data, block(), lanes<T>});
    }
    for (int64_t u = 0; u < w.kh; ++u) {
      const int64_t h = top + u * w.dilation_h;
      rows.data[u] = memory.data + (h >= 0 && h < x.height ? h % ring : ring) * size;
    }
    return rows.data;
  }
};

// The rows of the gradient of x that output rows still add to.
template <class T>
struct GradientRows {
  const Image& grad_x;
  const Window& w;
  const int64_t columns, ring, size;
  Scratch<T> memory;
  Scratch<T*> rows;
  int64_t b, first, last, done;  // rows [first, last) of image b are ours, those before `done` are written

  GradientRows(const Image& grad_x, const Window& w, int64_t out_width, int64_t b, int64_t first, int64_t last)
      : grad_x(grad_x),
        w(w),
        columns(reach(grad_x.width + w.pad_w, (out_width - 1) * w.stride_w + (w.kw - 1) * w.dilation_w + 1)),
        ring((w.kh - 1) * w.dilation_h + 1),
        size(blocks<T>(grad_x.channels) * columns * lanes<T>),
        memory(ring * size),
        rows(w.kh),
        b(b),
        first(first),
        last(last),
        done(first) {
    memory.zero(ring * size);
  }

  static int64_t reach(int64_t a, int64_t b) { return a > b ? a : b; }
  int64_t block() const { return columns * lanes<T>; }

  // The output rows that our rows depend on.
  int64_t begin() const {
    const int64_t i = first + w.pad_h - (ring - 1);
    return i > 0 ? (i + w.stride_h - 1) / w.stride_h : 0;
  }
  int64_t end(int64_t out_height) const {
    const int64_t i = (last - 1 + w.pad_h) / w.stride_h + 1;
    return i < out_height ? i : out_height;
  }

  // Pointers to the rows that output row i adds to, null where they are not ours.
  T* const* open(int64_t i) {
    for (int64_t u = 0; u < w.kh; ++u) {
      const int64_t h = i * w.stride_h - w.pad_h + u * w.dilation_h;
      rows.data[u] = h >= first && h < last ? memory.data + h % ring * size : nullptr;
    }
    return rows.data;
  }

  // Write the rows before `h`, which get no more.
  void close(int64_t h) {
    for (; done < h && done < last; ++done) {
      T* data = memory.data + done % ring * size;
      writer<T>(grad_x.dtype)(grad_x, b, done, Row<T>{data + w.pad_w * lanes<T>, block(), lanes<T>});
      __builtin_memset(data, 0, size * sizeof(T));
    }
  }
};
