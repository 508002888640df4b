// The operators of ops/fused/bottleneck.py and ops/fused/stem.py for CPU tensors: shapes are checked, because the code below writes to memory.
#if defined(__linux__) && defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdlib>
#include <cstring>
#include <utility>

#include "../tensors.h"
#include "block.h"

namespace involution {
namespace {

#if defined(__linux__) && defined(__x86_64__)
// Whether the processor has AMX, and Linux grants its registers to this process, which it does on request.
bool requests_tiles() {
  constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  unsigned a, b, c, d;
  constexpr unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & amx_bf16) && (d & amx_tile) &&
         !syscall(SYS_arch_prctl, request, tile_data);
}
#endif

// The best method for this processor; INVOLUTION_CPU may select a lower one, "avx512" or "avx512_bf16".
Pairs pairs() {
  static const Pairs best = [] {
    Pairs found = Pairs::widened;
#if defined(__linux__) && defined(__x86_64__)
    const char* wanted = std::getenv("INVOLUTION_CPU");
    const auto allowed = [&](const char* name) { return !wanted || !*wanted || !std::strcmp(wanted, name); };
    if (std::strcmp(chosen().name, "avx512")) return found;
    if (allowed("avx512_bf16") && __builtin_cpu_supports("avx512bf16")) found = Pairs::dotted;
    if (allowed("amx") && requests_tiles()) found = Pairs::tiled;
#endif
    return found;
  }();
  return best;
}

Tensor empty_channels_last(const Tensor& like, int64_t b, int64_t c, int64_t h, int64_t w) {
  return empty_strided(like, {b, c, h, w}, {h * w * c, 1, w * c, c});
}

// The same images with the channels of a pixel, the pixels of a row and the rows contiguous.
Tensor channels_last(const Tensor& images) {
  const int64_t b = images.size(0), c = images.size(1), h = images.size(2), w = images.size(3);
  if (images.stride(1) == 1 && images.stride(3) == c && images.stride(2) == w * c && images.stride(0) == h * w * c)
    return images;
  Tensor copied = empty_channels_last(images, b, c, h, w);
  torch::stable::copy_(copied, images);
  return copied;
}

// The layout of packed weights, that of ops/fused: columns of a panel and of a register, groups of which the kernels are
// generated together, and the depth of one row of the stem's first window.
constexpr int64_t kPanel = 32, kColumns = 16, kChunk = 4, kWindowRow = 16;

// Packed weights and biases, in the order of the signatures.
struct Packed {
  const Tensor &enter, &enter_bias, &reduce, &reduce_bias, &span, &span_bias, &scale, &shift, &leave, &leave_bias;
};

Matrix matrix(const Tensor& panels, const Tensor& bias, int64_t depth, int64_t copies, const Tensor& x) {
  check(panels.scalar_type() == x.scalar_type() && panels.is_cpu() && panels.is_contiguous() &&
        bias.scalar_type() == ScalarType::Float && bias.is_cpu() && bias.is_contiguous(),
        "involution: expected packed weights in the dtype of x and biases in float32");
  check(panels.dim() == 3 && bias.dim() == 1, "involution: expected packed weights");
  const int64_t together = x.scalar_type() == ScalarType::Float ? 1 : 2;
  const Matrix m{panels.data_ptr(), static_cast<const float*>(bias.data_ptr()), bias.size(0) / copies,
                 panels.size(1) * together};
  check(panels.size(2) == kPanel * together && m.depth % (kColumns * together) == 0 && m.depth >= depth &&
        m.columns % kColumns == 0 && m.columns * copies == bias.size(0) &&
        panels.size(0) == (m.columns + kPanel - 1) / kPanel * copies,
        "involution: packed weights and biases do not fit");
  return m;
}

void check_images(const Tensor& images) {
  check(images.scalar_type() == ScalarType::Float || images.scalar_type() == ScalarType::BFloat16,
        "x: expected float32 or bfloat16");
  check(images.dim() == 4, "x: expected four dimensions");
}

// What both operators share: the layers up to the norm after the aggregation.
Block involution_of(const Tensor& x, const Packed& packed, int64_t depth, int64_t groups, const Ints& window,
                    const Ints& stride, const Ints& dilation) {
  for (const Ints* pair : {&window, &stride, &dilation})
    check(pair->size() == 2 && (*pair)[0] > 0 && (*pair)[1] > 0, "involution: expected positive pairs");
  check(groups > 0, "involution: expected groups");
  const int64_t chunk_groups = groups < kChunk ? groups : kChunk, chunks = (groups + chunk_groups - 1) / chunk_groups;
  Block block{};
  block.enter = matrix(packed.enter, packed.enter_bias, depth, 1, x);
  const int64_t mid = block.enter.columns;
  block.reduce = matrix(packed.reduce, packed.reduce_bias, mid, 1, x);
  block.span = matrix(packed.span, packed.span_bias, block.reduce.columns, chunks, x);
  for (const Tensor* t : {&packed.scale, &packed.shift})
    check(t->scalar_type() == ScalarType::Float && t->dim() == 1 && t->is_contiguous() && t->size(0) == mid,
          "involution: expected scale and shift in float32");
  block.scale = static_cast<const float*>(packed.scale.data_ptr());
  block.shift = static_cast<const float*>(packed.shift.data_ptr());
  block.window = {groups, window[0], window[1], stride[0], stride[1], dilation[0] * (window[0] - 1) / 2,
                  dilation[1] * (window[1] - 1) / 2, dilation[0], dilation[1]};
  block.chunks = chunks, block.chunk_groups = chunk_groups;
  check(mid % (kColumns * groups) == 0, "involution: expected groups of 16 channels");
  check(block.span.columns >= chunk_groups * window[0] * window[1], "involution: the span lacks taps");
  return block;
}

using Compute = int64_t (*)(const Block&, Pairs, const Image&, const Image&, char*);

void compute(Compute pass, const Block& block, const Image& x, const Tensor& y, const Tensor& vector) {
  if (!y.numel()) return;
  const int64_t bytes = pass(block, pairs(), x, image("y", y), nullptr);
  const Tensor memory = empty_strided(vector, {bytes / 4 + 16}, {1});  // throws if there is none
  char* const aligned = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory.data_ptr()) + 63) / 64 * 64);
  pass(block, pairs(), x, image("y", y), aligned);
}

// y is written to new memory or, if `in_place`, to that of x.
Tensor compute_block(const Tensor& images, const Packed& packed, int64_t groups, const Ints& window, const Ints& stride,
                     const Ints& dilation, bool projection, bool in_place) {
  check_images(images);
  const Tensor x = channels_last(images);
  const Image from = image("x", x);
  Block block = involution_of(x, packed, from.channels, groups, window, stride, dilation);
  block.leave = matrix(packed.leave, packed.leave_bias, block.enter.columns + (projection ? from.channels : 0), 1, x);
  block.projection = projection;
  check(from.channels % kColumns == 0, "involution: expected groups of 16 channels");
  check(projection || (block.leave.columns == from.channels && stride[0] == 1 && stride[1] == 1),
        "involution: an identity shortcut needs equal shapes");
  check(!(projection && in_place), "involution: expected an identity shortcut in place");
  const Tensor y = in_place ? x
                            : empty_channels_last(x, from.batch, block.leave.columns,
                                                  (from.height + stride[0] - 1) / stride[0],
                                                  (from.width + stride[1] - 1) / stride[1]);
  compute(chosen().bottleneck, block, from, y, packed.enter_bias);
  return y;
}

Tensor compute_stem(const Tensor& x, const Packed& packed, int64_t groups, const Ints& window) {
  check_images(x);
  const Image from = image("x", x);
  Block block = involution_of(x, packed, 3 * kWindowRow, groups, window, {1, 1}, {1, 1});
  block.leave = matrix(packed.leave, packed.leave_bias, 9 * block.enter.columns, 1, x);
  check(3 * from.channels <= kWindowRow && block.enter.columns % kPanel == 0 &&
            block.leave.depth == 9 * block.enter.columns,
        "involution: expected up to 5 channels, and a multiple of 32 after the first convolution");
  const Tensor y = empty_channels_last(x, from.batch, block.leave.columns, (from.height + 3) / 4, (from.width + 3) / 4);
  compute(chosen().stem, block, from, y, packed.enter_bias);
  return y;
}

// The operators as PyTorch calls them: the fields of `Packed` are arguments, one for each index.
template <size_t>
using Field = const Tensor&;
template <class Indices>
struct Operators;
template <size_t... I>
struct Operators<std::index_sequence<I...>> {
  static Tensor bottleneck(const Tensor& x, Field<I>... packed, int64_t groups, const Ints window, const Ints stride,
                           const Ints dilation, bool projection) {
    return compute_block(x, {packed...}, groups, window, stride, dilation, projection, false);
  }
  static void bottleneck_(Tensor x, Field<I>... packed, int64_t groups, const Ints window, const Ints stride,
                          const Ints dilation) {
    const Tensor y = compute_block(x, {packed...}, groups, window, stride, dilation, false, true);
    if (y.data_ptr() != x.data_ptr()) torch::stable::copy_(x, y);  // x had another layout
  }
  static Tensor stem(const Tensor& x, Field<I>... packed, int64_t groups, const Ints window) {
    return compute_stem(x, {packed...}, groups, window);
  }
};
using Unpacked = Operators<std::make_index_sequence<10>>;

}  // namespace
}  // namespace involution

STABLE_TORCH_LIBRARY_IMPL(involution, CPU, library) {
  library.impl("bottleneck", TORCH_BOX(&involution::Unpacked::bottleneck));
  library.impl("bottleneck_", TORCH_BOX(&involution::Unpacked::bottleneck_));
  library.impl("stem", TORCH_BOX(&involution::Unpacked::stem));
}
