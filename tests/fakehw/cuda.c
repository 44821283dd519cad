/* A libcuda.so.1 without a GPU: the three calls of the CUDA driver API that gpudoctor makes.
 *
 * Settings: cuda, count, and the name of any function (a code, `hang`, `crash`, `abort`, `flood`).
 *
 * ABI: https://docs.nvidia.com/cuda/cuda-driver-api/index.html
 */
#include "settings.h"

typedef int CUresult;

enum { NOT_INITIALIZED = 3, NO_DEVICE = 100 };

static int started;

CUresult cuInit(unsigned flags) {
    (void)flags;
    int told = misbehave(__func__);
    started = told == 0;
    return told;
}

CUresult cuDriverGetVersion(int *version) {
    int told = misbehave(__func__);
    *version = (int)number_setting("cuda", 12040);
    return told;
}

CUresult cuDeviceGetCount(int *count) {
    int told = misbehave(__func__);
    if (!started) {
        return NOT_INITIALIZED;
    }
    /* CUDA counts what CUDA_VISIBLE_DEVICES leaves over; an empty value leaves nothing. */
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    *count = visible && !*visible ? 0 : (int)number_setting("count", 1);
    return told;
}
