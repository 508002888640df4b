// Instructions that every processor of the architecture has, with registers of 16 bytes: 16 of SSE2, 32 of NEON.
#include <stdlib.h>

#include "bottleneck/block.h"
#include "image.h"
#define INVOLUTION_NAME baseline
#define INVOLUTION_STRING(name) "baseline"
#define INVOLUTION_REGISTER_BYTES 16
#if defined(__aarch64__)
#define INVOLUTION_WIDE_TILE 14
#else
#define INVOLUTION_WIDE_TILE 7
#endif
#include "instruction_set.h"
