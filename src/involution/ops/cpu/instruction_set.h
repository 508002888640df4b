// Everything an instruction set provides, compiled for it. The including file names the set:
//   INVOLUTION_NAME, INVOLUTION_REGISTER_BYTES, INVOLUTION_WIDE_TILE, and the compiler's target before this line.
// loops/: the loops over windows and rows, from one register up to whole tensors. bottleneck/: a whole block in one pass.
// All of it has internal linkage: the linker must never replace one set's copy of a function by another's.

namespace involution {
namespace {

#include "loops/vector.h"
#include "loops/elements.h"
#include "loops/memory.h"
#include "loops/rows.h"
#include "loops/windows.h"
#include "loops/buffers.h"
#include "loops/division.h"
#include "loops/pixels/lines.h"
#include "loops/pixels/softmax.h"
#include "loops/pixels/windows.h"
#include "loops/pixels/groups.h"
#include "loops/pixels/small.h"
#include "loops/pixels/contractions.h"
#include "loops/contractions.h"
#include "loops/spanned.h"
#include "loops/spanned_backward.h"
#include "bottleneck/operand.h"
#include "bottleneck/arena.h"
#include "bottleneck/products.h"
#include "bottleneck/pairs.h"
#include "bottleneck/pass.h"
#include "bottleneck/schedule.h"
#include "bottleneck/stem.h"
#include "training/maps.h"
#include "training/norms.h"
#include "training/pointwise.h"

#define INVOLUTION_BY_DTYPE(function, image) (image.dtype == Dtype::float64 ? function<double> : function<float>)

}  // namespace

const InstructionSet INVOLUTION_NAME = {
    INVOLUTION_STRING(INVOLUTION_NAME),
    [](const Image& x, const Image& kernel, const Window& w, const Image& y) {
      INVOLUTION_BY_DTYPE(forward, x)(x, kernel, w, y);
    },
    [](const Image& grad, const Image& kernel, const Window& w, const Image& out) {
      INVOLUTION_BY_DTYPE(grad_x, grad)(grad, kernel, w, out);
    },
    [](const Image& grad, const Image& x, const Window& w, const Image& out) {
      INVOLUTION_BY_DTYPE(grad_kernel, grad)(grad, x, w, out);
    },
    [](const Image& x, const Span& span, const Window& w, const Image& y) {
      INVOLUTION_BY_DTYPE(spanned, x)(x, span, w, y);
    },
    [](const Image& grad, const Image& x, const Span& span, const Window& w, const Image& grad_x,
       const Span& grads) { INVOLUTION_BY_DTYPE(spanned_backward, x)(grad, x, span, w, grad_x, grads); },
    batch_norm,
    batch_norm_backward,
    pointwise,
    pointwise_weight,
    compute<Schedule>,
    compute<StemSchedule>,
};

}  // namespace involution
