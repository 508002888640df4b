// What every processor of the architecture has: SSE2 or NEON, registers of 16 bytes.
#include <stdlib.h>

#include "image.h"
#define INVOLUTION_NAME baseline
#define INVOLUTION_STRING(name) "baseline"
#define INVOLUTION_REGISTER_BYTES 16
#define INVOLUTION_WIDE_TILE 7
#include "instruction_set.h"
