// The interface of the PyTorch side and the code of an instruction set: shapes, strides and a few function pointers.
// It has no C++ library type, so that nothing compiled for a newer processor can be shared with an older one.
#pragma once
#include <cstdint>

namespace involution {

enum class Dtype { float32, float64, bfloat16, float16 };

inline int64_t size_of(Dtype dtype) { return dtype == Dtype::float64 ? 8 : dtype == Dtype::float32 ? 4 : 2; }

// Four indices into memory. A kernel [B, G, Kh, Kw, Ho, Wo] is an image of G·Kh·Kw channels; with a scale it is one for
// each of the output pixels that share a window, `step_h` and `step_w` apart.
struct Image {
  void* data;  // null: not requested, or absent
  Dtype dtype;
  int64_t batch, channels, height, width;
  int64_t stride_b, stride_c, stride_h, stride_w;  // in elements
  int64_t step_h = 0, step_w = 0;

  void* address(int64_t elements) const { return static_cast<char*>(data) + elements * size_of(dtype); }
  // Channels [first, first + count).
  Image slice(int64_t first, int64_t count) const {
    Image part = *this;
    if (data) part.data = address(first * stride_c);
    part.channels = count;
    return part;
  }
  // The image of output pixel (h, w) of every window.
  Image at(int64_t h, int64_t w) const {
    Image part = *this;
    part.data = address(h * step_h + w * step_w);
    return part;
  }
};

struct Window {
  int64_t groups, kh, kw;
  int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  int64_t scale_h = 1, scale_w = 1;  // output pixels that share a window
  bool interleaved = false;          // channel c is in group c mod G
  bool softmax = false;              // kernels are the softmax over the taps of what is given
  int64_t taps() const { return kh * kw; }
};

// The kernel generator's last convolution, kernel = weight · reduced + bias. Its matrices are images of one row: `weight`
// has G·Kh·Kw channels and R pixels, `bias` (data may be null) as many channels and one pixel.
struct Span {
  Image reduced, weight, bias;
};

// A batch norm in training, and the shortcut (data may be null) and the ReLU after it: maps are [pixels][channels].
struct Norm {
  int64_t pixels, channels;
  double eps;
  bool relu;
  const float *x, *shortcut, *weight, *bias;
  float *y, *mean, *var;
};
struct NormGrads {
  const float* grad;
  float *x, *shortcut, *weight, *bias;
};

// A 1x1 convolution: y[pixel][n] = sum over k of x[pixel][k] * weight[k * weight_depth + n * weight_column], plus the
// addend of the pixel. The gradient of x has the same form, and that of the weight sums over pixels.
struct Pointwise {
  int64_t pixels, depth, columns;
  const float *x, *weight;
  int64_t weight_depth, weight_column;
  float* y;
  const float* addend;  // null: none
  int64_t height, width, stride;  // of y; addends are those of every stride-th pixel in rows and columns
};
struct PointwiseWeight {
  int64_t pixels, inputs, outputs;
  const float *x, *grad;
  float* grad_weight;
};

struct Block;  // bottleneck/block.h
enum class Pairs;

// The functions of one instruction set.
struct InstructionSet {
  const char* name;
  void (*forward)(const Image& x, const Image& kernel, const Window&, const Image& y);
  void (*grad_x)(const Image& grad, const Image& kernel, const Window&, const Image& grad_x);
  void (*grad_kernel)(const Image& grad, const Image& x, const Window&, const Image& grad_kernel);
  void (*spanned)(const Image& x, const Span&, const Window&, const Image& y);
  void (*spanned_backward)(
      const Image& grad, const Image& x, const Span&, const Window&, const Image& grad_x, const Span& grads);
  void (*batch_norm)(const Norm&);
  void (*batch_norm_backward)(const Norm&, const NormGrads&);
  void (*pointwise)(const Pointwise&);
  void (*pointwise_weight)(const PointwiseWeight&);
  int64_t (*bottleneck)(const Block&, Pairs, const Image& x, const Image& y, char* memory);
  int64_t (*stem)(const Block&, Pairs, const Image& x, const Image& y, char* memory);
};

extern const InstructionSet avx512, avx2, baseline;
const InstructionSet& chosen();  // the best one of this processor

// Thrown if an allocation fails; `parallel_for` passes it from a thread to its caller.
struct OutOfMemory {
  int64_t bytes;
};

// Threads of PyTorch; `work` gets a range of [0, count), the calling thread's share.
int64_t thread_count();
void parallel_for(int64_t count, int64_t grain, void (*work)(void* context, int64_t begin, int64_t end), void* context);

}  // namespace involution
